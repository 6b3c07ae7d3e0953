"""One pass over state and change: read both, write the sum, keep the largest magnitude."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from revgnn.kernels.cpu import simd
from revgnn.kernels.cpu.launch import constants, kernel, next_block, num_blocks, run
from revgnn.kernels.cpu.simd import exceeds, fma, load, magnitude, mul, pointer, rint, select, splat, store

LANES = 64
GRAIN = 1 << 15
"""Elements a block: 128 KiB of float32, so that what a block reads fits a core's cache."""


@functools.cache
def advance_kernel(rounded: bool, dtype: Any) -> Any:
    revision = simd.REVISION

    def elements(record):
        _ = revision
        size = record[2]
        state, change, out, peaks = (
            pointer(record[3], dtype),
            pointer(record[4], dtype),
            pointer(record[5], dtype),
            pointer(record[6], dtype),
        )
        up, down = pointer(record[7], dtype)[0], pointer(record[7], dtype)[1]
        while True:
            block = next_block(record)
            if block >= record[1]:
                return
            begin, end = size * block // record[1], size * (block + 1) // record[1]
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
            store(peaks, block * (LANES + 1), peak)
            store(peaks, block * (LANES + 1) + LANES, last)

    return kernel(elements)


def advance(state: Tensor, change: Tensor, bits: int | None, sign: float) -> tuple[Tensor, Tensor]:
    """As the reference, but with several magnitudes, of which one is the largest. A product with a power of two is exact, so the
    fused multiply-add rounds as the plain sum does."""
    blocks = num_blocks(state.numel(), GRAIN)
    out, peaks = torch.empty_like(state), state.new_empty(blocks, LANES + 1)
    up, down = (1.0, sign) if bits is None else (math.ldexp(1.0, bits), math.ldexp(sign, -bits))
    dtype = np.float32 if state.dtype == torch.float32 else np.float64
    run(advance_kernel(bits is not None, dtype), blocks, state.numel(), state, change, out, peaks, constants(state.dtype, up, down))
    return out, peaks
