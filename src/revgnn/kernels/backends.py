"""The one place where it is decided what runs an operator: the kernels of a device, or the definition in plain torch; whether
torch's dispatcher must see it; and whether index arrays are still as they were checked."""

from __future__ import annotations

import functools
import importlib.util
import os
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from revgnn.memory import rehearsing

NAMES = ("cpu", "gpu", "reference")
_PLAIN = (Tensor, nn.Parameter)
_HAS_TRITON = importlib.util.find_spec("triton") is not None  # found out once: torch.compile cannot trace it


def _no_obstacle(backend: str) -> None:
    return None


def choose(backend: str | None, device: torch.device, obstacle: Callable[[str], str | None] = _no_obstacle) -> str:
    """Return the backend that was asked for, or the default one: the fused kernels of the device, or else "reference".

    The GPU kernels are written in Triton. On tensors of the CPU they run in Triton's interpreter, slowly, for tests. That must
    be turned on by `TRITON_INTERPRET=1` in the environment before anything imports triton.

    Args:
        backend: "cpu", "gpu" or "reference"; None for the default.
        device: of the tensors.
        obstacle: from "cpu" or "gpu" to the reason why its kernels cannot take these tensors, or None if they can.

    Raises:
        ValueError: for an unknown name, or a backend that this device, this installation or these tensors rule out.
    """
    if backend is None:
        chosen = _default(device)
        return chosen if chosen == "reference" or obstacle(chosen) is None else "reference"
    if backend not in NAMES:
        raise ValueError(f"unknown backend {backend!r}; choose 'cpu', 'gpu' or 'reference'.")
    if backend == "cpu" and device.type != "cpu":
        raise ValueError(
            f"backend 'cpu' works on tensors of the CPU, and these are on {device}; leave backend out, or choose 'gpu'."
        )
    if backend == "gpu":
        _check_gpu(device)
    if backend != "reference" and (reason := obstacle(backend)) is not None:
        raise ValueError(f"{reason}; use 'reference'.")
    return backend


def _default(device: torch.device) -> str:
    if device.type == "cpu":
        return "cpu"
    if device.type != "cuda":
        return "reference"
    if has_triton():
        return "gpu"
    _warn_of_slow_path()
    return "reference"


def _check_gpu(device: torch.device) -> None:
    if not has_triton():
        raise ValueError("backend 'gpu' needs triton, which is not installed; install it, or choose 'reference'.")
    if device.type != "cuda" and not (device.type == "cpu" and interpreted()):
        raise ValueError(
            f"backend 'gpu' works on CUDA tensors, and these are on {device}; move them, choose 'cpu' or 'reference', or, to "
            "test the kernels without a GPU, start with TRITON_INTERPRET=1."
        )


def needs_dispatcher(tensors: tuple[Any, ...]) -> bool:
    """Whether a compiler, a tracer, a transform, a dispatch mode or a tensor subclass has to see each operator.

    A dispatch mode that only needs to see what operators are made of has an attribute `sees_through_operators`. A rehearsal
    needs no more.
    """
    if torch.compiler.is_compiling():
        return True
    has_modes = torch._C._len_torch_dispatch_stack() > 0
    if has_modes and rehearsing():
        return False
    return (
        (has_modes and not _all_see_through())
        or torch._C._are_functorch_transforms_active()
        or torch._C._get_tracing_state() is not None
        or any(isinstance(t, Tensor) and type(t) not in _PLAIN for t in tensors)
    )


def _all_see_through() -> bool:
    return all(getattr(mode, "sees_through_operators", False) for mode in _get_current_dispatch_mode_stack())


def versions(*tensors: Tensor) -> tuple[int, ...] | None:
    """Return how often torch has written to each tensor, or None if one was made in inference mode, where torch does not count."""
    return None if any(t.is_inference() for t in tensors) else tuple(t._version for t in tensors)


def check_unchanged(checked: tuple[int, ...] | None, **arrays: Tensor) -> None:
    """Raise `RuntimeError` if one of the index arrays of a graph was written to after it was checked.

    Kernels do not check what they read: a changed index may point anywhere.

    Args:
        checked: their `versions` when they were checked, or None.
        arrays: index arrays by name.
    """
    # a version is no constant of a compiled graph
    if checked is None or torch.compiler.is_compiling():
        return
    for (name, array), version in zip(arrays.items(), checked, strict=True):
        if array._version != version:
            raise RuntimeError(
                f"{name} of this graph was changed in place after the graph was made, so that its checks hold no more; make "
                "another graph of a changed copy: Graph(indptr, src)."
            )


def has_triton() -> bool:
    """Whether triton is installed; it is not imported."""
    return _HAS_TRITON


def interpreted() -> bool:
    """Whether Triton kernels are interpreted on the CPU rather than compiled."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes", "y")


@functools.cache
def _warn_of_slow_path() -> None:
    warnings.warn(
        "triton is not installed, so operators on CUDA run in plain torch and build a message for each edge and channel; "
        "install triton for the fused kernels.",
        stacklevel=4,
    )
