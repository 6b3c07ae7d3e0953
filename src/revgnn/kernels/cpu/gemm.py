"""Products of small matrices inside a kernel: a tile of the result stays in registers during the sums."""

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
    """Return how to cut a result of `rows` (a multiple of 4) by `columns`: 112 columns of float32 are 64 and 48, 80 are 48 and 32.

    Tiles are about equally wide: at most four registers on a machine with 32 of them, at most two on one with 16. Narrow tiles are
    taller, because at least eight sums at a time are needed to keep the multipliers busy.
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
    """Compute `out = start + A B` with `b` (K, N) and `out` (M, N), contiguous. The last four arguments are `tiles(M, N)`.

    `A[m, k]` is `a[a_at + m * a_row + k * a_step]`, so that A may be a transpose. Rows of `start` are `start_row` apart: 0 for a
    bias that all rows share; N, with `out` as `start`, to add to it. The arguments are many because numba keeps numbers that a
    kernel closes over as constants, but not the fields of a tuple.
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
