"""`advance` on the CPU: one pass reads state and change, writes the sum and keeps its largest magnitude."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor

from revgnn.kernels.cpu.blocks import even_blocks
from revgnn.kernels.cpu.elements import ELEMENTS
from revgnn.kernels.cpu.kernel import Kernel, kernel, num_blocks, number, read, size, write
from revgnn.kernels.cpu.simd import exceeds, fma, load, magnitude, mul, rint, select, splat, store

LANES = 64
PEAKS = LANES + 1
"""Magnitudes that a block writes: one for each lane, and one for the elements that fill no vector."""
GRAIN = 1 << 15
"""Elements a block: 128 KiB of float32, so that what a block reads fits a core's cache."""


@functools.cache
def advance_kernel(rounded: bool, dtype: Any) -> Kernel:
    """`out = state + down * rint(up * change)`, without the rounding if not `rounded`."""

    @kernel(
        count=size,
        up=number,
        down=number,
        state=read(dtype, "count"),
        change=read(dtype, "count"),
        out=write(dtype, "count"),
        peaks=write(dtype, f"blocks * {PEAKS}"),
    )
    def advance(args):
        state, change, out, up, down = args.state, args.change, args.out, dtype(args.up), dtype(args.down)
        for block, begin, end in even_blocks(args, args.count):
            whole = begin + (end - begin) // LANES * LANES
            peak = splat(dtype(0), LANES)
            for at in range(begin, whole, LANES):
                f = load(change, at, LANES)
                if rounded:
                    f = rint(mul(f, splat(up, LANES)))
                y = fma(f, splat(down, LANES), load(state, at, LANES))
                size_of_y = magnitude(y)
                peak = select(exceeds(size_of_y, peak), size_of_y, peak)
                store(out, at, y)
            last = splat(dtype(0), 1)
            for at in range(whole, end):
                f = load(change, at, 1)
                if rounded:
                    f = rint(mul(f, splat(up, 1)))
                y = fma(f, splat(down, 1), load(state, at, 1))
                size_of_y = magnitude(y)
                last = select(exceeds(size_of_y, last), size_of_y, last)
                store(out, at, y)
            store(args.peaks, block * PEAKS, peak)
            store(args.peaks, block * PEAKS + LANES, last)

    return advance


def advance(state: Tensor, change: Tensor, bits: int | None, sign: float) -> tuple[Tensor, Tensor]:
    """Return `state + sign * round(change)`, and some magnitudes of it, among them the largest. Both arguments are contiguous.

    A product with a power of two is exact, so the fused multiply-add rounds as the plain sum does.
    """
    change = change.to(state.dtype)
    blocks = num_blocks(state.numel(), GRAIN)
    out, peaks = torch.empty_like(state), state.new_empty(blocks, PEAKS)
    up, down = (1.0, sign) if bits is None else (math.ldexp(1.0, bits), math.ldexp(sign, -bits))
    run = advance_kernel(bits is not None, ELEMENTS[state.dtype])
    run(blocks, count=state.numel(), up=up, down=down, state=state, change=change, out=out, peaks=peaks)
    return out, peaks
