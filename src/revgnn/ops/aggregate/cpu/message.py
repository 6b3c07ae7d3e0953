"""The message, as all kernels compute it."""

from __future__ import annotations

from numba import njit

from revgnn.ops.simd import REGISTERS, add, add_encoded, load, prefetch

AHEAD = 16
"""Edges to look ahead: the rows at the other ends lie anywhere, and so do edge features by source."""


def tiles(channels: int, features: int, widest: int = 128) -> list[tuple[int, int, int]]:
    """Cut channels into tiles: `(first channel, lanes of a tile, number of tiles)`, whole tiles and then what is left.

    As wide as leaves the weights of a tile, features x lanes, in half of the registers that AVX-512 has.
    """
    lanes = max(16, min(widest, 16 * (REGISTERS // 2 // features) if features else widest) // 16 * 16)
    whole = channels // lanes
    cut = [(0, lanes, whole), (whole * lanes, channels % lanes, 1)]
    return [(first, width, count) for first, width, count in cut if width and count]


@njit(inline="always")
def before_relu(x, row, a, e, w, base, stride, c, C, K):
    """Channels c to c + C of  x_row + A_e W + b."""
    return add_encoded(add(load(x, row * stride + c, C), base), a, e * K, w, c, stride, K)


@njit(inline="always")
def prefetch_row(x, row, stride, c, C, LINE):
    """Ask for channels c to c + C of a row, cache line by cache line (`LINE` elements each)."""
    for n in range(0, C, LINE):
        prefetch(x, row * stride + c + n)
