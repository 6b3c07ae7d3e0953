"""Running a Triton kernel."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
import triton
from torch import Tensor

from revgnn.memory import rehearsing

jit: Any = triton.jit
"""`triton.jit`. A type checker takes its functions for objects that cannot be called, but inside kernels they can."""


def power_of_two(n: int) -> int:
    """Return the smallest power of two that is `n` or more."""
    return 1 << max(0, n - 1).bit_length()


def launch(kernel: Any, grid: tuple[int, ...], like: Tensor, warps: int, *arguments: Any, **named: Any) -> None:
    """Run a Triton kernel on the device of `like`, with `warps` warps a program; not in a rehearsal, and not on an empty grid."""
    if 0 in grid or (torch._C._len_torch_dispatch_stack() > 0 and rehearsing()):
        return
    with torch.cuda.device(like.device) if like.device.type == "cuda" else contextlib.nullcontext():
        kernel[grid](*arguments, **named, num_warps=warps)
