"""Measure the memory that a function needs, and fill new memory with NaN to find reads of unwritten memory."""

from __future__ import annotations

import contextlib
import gc
import warnings
from collections.abc import Callable, Iterator

import torch
from torch import _C

from revgnn.memory import PeakMemory


def peak_bytes(work: Callable[[], object], device: torch.device | str = "cpu") -> int:
    """Return the peak of live tensor bytes while `work()` runs, above those alive before; `PeakMemory` says what counts."""
    # On CUDA, a reference cycle of earlier work that is freed in the middle would change the figure.
    gc.collect()
    with PeakMemory(device) as memory:
        work()
    return memory.peak_bytes


@contextlib.contextmanager
def nan_filled_empty() -> Iterator[None]:
    """Inside the context, fill new memory (`torch.empty` and others) with NaN, or the largest value for integers, on all devices.

    This includes memory that custom operators and PyTorch's own kernels allocate, but not `numpy.empty`. The context turns on
    PyTorch's deterministic algorithms, with warnings instead of errors, and restores the settings at its end.
    """
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    fill = _C._get_deterministic_fill_uninitialized_memory()
    torch.use_deterministic_algorithms(True, warn_only=True)
    _C._set_deterministic_fill_uninitialized_memory(True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*does not have a deterministic implementation.*")
            yield
    finally:
        _C._set_deterministic_fill_uninitialized_memory(fill)
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
