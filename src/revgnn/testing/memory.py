"""How much memory a function needs, and memory that shows when it is read before it is written."""

from __future__ import annotations

import contextlib
import gc
import warnings
from collections.abc import Callable, Iterator

import torch
from torch import _C

from revgnn.memory import PeakMemory


def peak_bytes(work: Callable[[], object], device: torch.device | str = "cpu") -> int:
    """Peak of live tensor bytes while `work()` runs, above those alive before; see `revgnn.memory.PeakMemory` for what counts."""
    # A reference cycle of earlier work that dies in the middle would blur the figure on CUDA.
    gc.collect()
    with PeakMemory(device) as memory:
        work()
    return memory.peak_bytes


@contextlib.contextmanager
def nan_filled_empty() -> Iterator[None]:
    """Inside, `torch.empty` and its like return NaN (floating point) or the largest value (integers) on every device.

    Also for what custom operators and PyTorch's own kernels allocate, though not for `numpy.empty`. It works by
    turning on PyTorch's deterministic algorithms, warning only; the settings found at entry are put back.
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
