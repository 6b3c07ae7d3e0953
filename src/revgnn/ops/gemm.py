"""Products of small matrices inside a kernel: a tile of the result stays in registers while the sums run.

A tile is 4 rows by `lanes(dtype)` columns. Columns beyond the last whole tile are one narrower tile.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from revgnn.ops.simd import REGISTER_BYTES, REGISTERS, product_tile


def lanes(dtype: Any) -> int:
    """Columns of a tile: four rows of four registers each where there are 32 of them, of two where there are 16."""
    return (4 if REGISTERS == 32 else 2) * REGISTER_BYTES // np.dtype(dtype).itemsize


def tail(columns: int, lanes: int) -> int:
    """Columns of the last tile."""
    return columns % lanes or lanes


@njit(inline="always")
def multiply(a, a_row, a_step, b, start, start_row, out, M, N, K, L, T):
    """out = start + A B: `b` (K, N) and `out` (M, N), contiguous. M is a multiple of 4; L and T are `lanes` and `tail(N, L)`.

    `A[m, k]` is `a[m * a_row + k * a_step]`, so that A may be a transpose. Rows of `start` are `start_row` apart: 0 for a bias
    that all rows share; `out` itself, N, to add to it.
    """
    for n in range(0, N // L * L, L):
        for m in range(0, M, 4):
            product_tile(a, m * a_row, a_row, a_step, b, n, N, K, start, m * start_row + n, start_row, out, m * N + n, N, 4, L)
    for n in range(N // L * L, N, T):
        for m in range(0, M, 4):
            product_tile(a, m * a_row, a_row, a_step, b, n, N, K, start, m * start_row + n, start_row, out, m * N + n, N, 4, T)
