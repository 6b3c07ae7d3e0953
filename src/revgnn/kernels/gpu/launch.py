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

_compiled: dict[tuple[object, ...], Any] = {}
"""Compiled kernels, by everything that Triton compiles them for."""


def power_of_two(n: int) -> int:
    """Return the smallest power of two that is `n` or more."""
    return 1 << max(0, n - 1).bit_length()


def launch(
    kernel: Any, grid: tuple[int, ...], like: Tensor, warps: int, *arguments: Any, contract: bool = True, **named: Any
) -> None:
    """Run a Triton kernel on the device of `like`, with `warps` warps a program. Nothing is run on an empty grid or in a rehearsal.

    Triton's own launch works out anew, for each argument, what the kernel is compiled for, which takes longer than most kernels
    run. Here this is one key, of less work, for a kernel that is already compiled.

    Args:
        contract: whether a product and a sum may be computed as one, with one rounding. Without it, equal numbers cancel to 0.
    """
    if 0 in grid or (torch._C._len_torch_dispatch_stack() > 0 and rehearsing()):
        return
    options = {"num_warps": warps, "enable_fp_fusion": contract}
    if like.device.type != "cuda":
        kernel[grid](*arguments, **named, **options)
        return
    values = [*arguments, *[named[name] for name in kernel.arg_names[len(arguments) :]]]
    constants = kernel.constexprs
    traits = [value if n in constants else _trait(value) for n, value in enumerate(values)]
    key = (kernel, like.device.index, warps, contract, *traits)
    with _on(like.device):
        compiled = _compiled.get(key)
        if compiled is None:
            _compiled[key] = kernel[grid](*values, **options)
        else:
            compiled[(*grid, 1, 1)[:3]](*values)


def _trait(value: Tensor | int) -> object:
    """Return what a kernel is compiled for: of a tensor its dtype and whether it is aligned to 16 bytes, of a number whether it
    is 1, whether it is a multiple of 16, and whether it needs 64 bits."""
    if isinstance(value, Tensor):
        return value.dtype, value.data_ptr() % 16 == 0
    return value == 1, value % 16 == 0, value.bit_length() > 31


def _on(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Make a device the current one. To find out that it is takes less time than to make it."""
    return contextlib.nullcontext() if torch.cuda.current_device() == device.index else torch.cuda.device(device)
