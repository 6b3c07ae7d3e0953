"""Sums of the rows of a matrix, in float64 and in a fixed order: the last step of a gradient that all rows have in common."""

from __future__ import annotations

import math

import torch
import triton.language as tl
from torch import Tensor

from revgnn.kernels.gpu.launch import jit, launch

ROWS = 512
"""Rows that a program adds up."""


@jit
def column_sums_kernel(rows, sums, num_rows, ROWS: tl.constexpr, C: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr):
    """Add up `ROWS` rows from `ROWS` times the number of the program on."""
    begin = tl.program_id(0).to(tl.int64) * ROWS
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    acc = tl.zeros((BLOCK_R, BLOCK_C), tl.float64)
    for step in range(0, ROWS, BLOCK_R):
        r = begin + step + tl.arange(0, BLOCK_R)
        acc += tl.load(rows + r[:, None] * C + c[None, :], mask=(r < num_rows)[:, None] & (c < C)[None, :], other=0).to(tl.float64)
    tl.store(sums + tl.program_id(0) * C + c, tl.sum(acc, 0).to(sums.dtype.element_ty), mask=c < C)


def column_sums(rows: Tensor) -> Tensor:
    """Return the sum over the first axis, rounded once, in the dtype of `rows`, which is contiguous and not empty.

    Unlike `rows.sum(0, dtype=torch.float64)` it makes no copy in float64, and up to `ROWS` rows take one launch.
    """
    result, shape = rows.dtype, rows.shape[1:]
    rows = rows.view(rows.shape[0], -1)
    while rows.shape[0] > 1:
        programs = math.ceil(rows.shape[0] / ROWS)
        sums = rows.new_empty(programs, rows.shape[1], dtype=result if programs == 1 else torch.float64)
        grid = (programs, math.ceil(rows.shape[1] / 32))
        launch(column_sums_kernel, grid, rows, 4, rows, sums, rows.shape[0], ROWS=ROWS, C=rows.shape[1], BLOCK_R=32, BLOCK_C=32)
        rows = sums
    return rows.view(shape)
