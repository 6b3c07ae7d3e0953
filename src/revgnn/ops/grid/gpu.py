"""`advance` on the GPU: one pass reads state and change, writes the sum and keeps its largest magnitude."""

from __future__ import annotations

import math

import torch
import triton.language as tl
from torch import Tensor

from revgnn.kernels.gpu.launch import jit, launch

BLOCK = 1024
STEPS = 4
"""Blocks of a program."""


@jit
def nearest(v, WHOLE: tl.constexpr):
    """Return the nearest integer, ties to even. Every number from the power of two `WHOLE` on is an integer, so that adding `WHOLE`
    rounds to an integer."""
    size = tl.abs(v)
    rounded = (size + WHOLE) - WHOLE
    rounded = tl.where(v < 0, -rounded, rounded)
    return tl.where(size < WHOLE, rounded, v)  # infinities and NaN as they are


@jit
def advance_kernel(
    state, change, out, peaks, size, UP: tl.constexpr, DOWN: tl.constexpr, WHOLE: tl.constexpr, ROUNDED: tl.constexpr,
    STEPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    pid = tl.program_id(0).to(tl.int64)
    dtype = out.dtype.element_ty
    # bits of magnitudes order as these do, NaN above all
    top = tl.zeros((BLOCK,), tl.int64 if dtype == tl.float64 else tl.int32)
    for step in tl.static_range(STEPS):
        at = (pid * STEPS + step) * BLOCK + tl.arange(0, BLOCK)
        live = at < size
        f = tl.load(change + at, mask=live, other=0).to(dtype)
        if ROUNDED:
            f = nearest(f * UP, WHOLE)
        y = tl.load(state + at, mask=live, other=0) + f * DOWN
        tl.store(out + at, y, mask=live)
        top = tl.maximum(top, tl.abs(y).to(top.dtype, bitcast=True))
    tl.store(peaks + pid, tl.max(top, 0).to(dtype, bitcast=True))


def advance(state: Tensor, change: Tensor, bits: int | None, sign: float) -> tuple[Tensor, Tensor]:
    """Return `state + sign * round(change)` and its largest magnitude, (). Both arguments are contiguous and not empty.

    A product with a power of two is exact, so a fused multiply-add rounds as the plain sum does.
    """
    size = state.numel()
    programs = math.ceil(size / (BLOCK * STEPS))
    out, peaks = torch.empty_like(state), state.new_empty(programs)
    up, down = (1.0, sign) if bits is None else (math.ldexp(1.0, bits), math.ldexp(sign, -bits))
    whole = 2.0**23 if state.dtype == torch.float32 else 2.0**52
    launch(
        advance_kernel, (programs,), state, 4, state, change, out, peaks, size,
        UP=up, DOWN=down, WHOLE=whole, ROUNDED=bits is not None, STEPS=STEPS, BLOCK=BLOCK,
    )  # fmt: skip
    return out, peaks.amax()
