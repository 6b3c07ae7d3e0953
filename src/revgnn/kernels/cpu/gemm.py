"""Products of small matrices inside a kernel: a tile of the result stays in registers while the sums run."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from revgnn.kernels.cpu.simd import REGISTER_BYTES, REGISTERS, opaque, product_tile


class Tiles(NamedTuple):
    """How a result is cut: tiles of `rows` by `lanes`, and a last column of tiles of `last_rows` by `last_lanes`."""

    rows: int
    lanes: int
    last_rows: int
    last_lanes: int


def tiles(rows: int, columns: int, dtype: Any) -> Tiles:
    """How to cut a result of `rows` (a multiple of 4) by `columns`: 112 columns of float32 are 64 and 48, 80 are 48 and 32.

    A tile is at most four registers wide where there are 32 of them, two where there are 16, and they are about equally wide.
    Narrow ones are taller: eight sums or more must be under way to keep the multipliers busy.
    """
    in_register = REGISTER_BYTES // np.dtype(dtype).itemsize
    registers, most = -(-columns // in_register), 4 if REGISTERS == 32 else 2
    lanes = -(-registers // -(-registers // most)) * in_register
    last = columns % lanes or lanes

    def height(width: int) -> int:
        return 8 if rows % 8 == 0 and 8 * (-(-width // in_register) + 1) <= REGISTERS else 4

    return Tiles(height(lanes), lanes, height(last), last)


@njit(inline="always")
def multiply(a, a_at, a_row, a_step, b, start, start_at, start_row, out, out_at, M, N, K, rows, lanes, last_rows, last_lanes):
    """out = start + A B: `b` (K, N) and `out` (M, N), contiguous; the last four are `tiles(M, N)`.

    `A[m, k]` is `a[a_at + m * a_row + k * a_step]`, so that A may be a transpose. Rows of `start` are `start_row` apart: 0 for a
    bias that all rows share; `out` itself, N, to add to it.
    """
    last = (N - 1) // lanes * lanes
    for n in range(0, last, lanes):
        for m in range(0, opaque(M), rows):
            product_tile(
                a, a_at + m * a_row, a_row, a_step, b, n, N, K,
                start, start_at + m * start_row + n, start_row, out, out_at + m * N + n, N, rows, lanes,
            )  # fmt: skip
    for m in range(0, opaque(M), last_rows):
        product_tile(
            a, a_at + m * a_row, a_row, a_step, b, last, N, K,
            start, start_at + m * start_row + last, start_row, out, out_at + m * N + last, N, last_rows, last_lanes,
        )  # fmt: skip
