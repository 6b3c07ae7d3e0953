"""How the GPU kernels share out the edges of nodes, so that a hub does not keep one program busy while all others have finished.

Edges are cut into blocks of `split` positions. A block that lies inside one row belongs to a program of its own. What is left of
each row, its ends, fewer than two blocks in all, belongs to the program of the row; a row without a block inside it is
finished there. For the others each program leaves its part in a scratch row, and a second kernel adds the parts up in the order
of the edges. Everything follows from `indptr` inside the kernels: there is nothing to prepare, nothing to wait for, no
atomic operation, and one order of summation.

The programs of a grid are the rows, then the blocks. Scratch has 2 x blocks rows: that of a block, and, `blocks` further, that of
the ends of the row whose first block it is.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

jit: Any = triton.jit
"""`triton.jit`; to a type checker its functions look as if they could not be called, and inside kernels they can."""

SPLIT = 256
"""Smallest number of edges in a block: a power of two. A program walks fewer than twice as many."""


def power_of_two(n: int) -> int:
    """The smallest one that is `n` or more."""
    return 1 << max(0, n - 1).bit_length()


class Split(NamedTuple):
    """How many edges a block has, and how many blocks there are."""

    size: int
    blocks: int

    @classmethod
    def of(cls, num_rows: int, num_edges: int) -> Split:
        """Blocks grow with the mean degree, so that scratch never has more rows than the result."""
        mean = 2 * num_edges // max(1, num_rows)
        size = max(SPLIT, power_of_two(mean))
        return cls(size, num_edges // size)

    def scratch(self, like: Tensor, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        return like.new_empty((2 * self.blocks, *shape), dtype=dtype)


class Tile(NamedTuple):
    """Edges and channels that a program holds at once, powers of two; grid steps over the channels; warps."""

    edges: int
    channels: int
    steps: int
    warps: int

    @classmethod
    def of(cls, channels: int, elements: int = 1024, widest: int = 128) -> Tile:
        wide = min(widest, power_of_two(channels))
        edges = min(32, max(8, elements // wide))
        return cls(edges, wide, math.ceil(channels / wide), max(1, min(4, edges * wide // 512)))


def launch(kernel: Any, grid: tuple[int, ...], like: Tensor, warps: int, *arguments: Any, **constants: Any) -> None:
    """Run a Triton kernel on the device of `like`; a grid of no programs is left out."""
    if 0 in grid:
        return
    with torch.cuda.device(like.device) if like.device.type == "cuda" else contextlib.nullcontext():
        kernel[grid](*arguments, **constants, num_warps=warps)


# --- inside kernels --------------------------------------------------------------------------------------------------------------


@jit
def row_of(indptr, num_rows, q):
    """The row that position `q` lies in."""
    low = q * 0
    high = low + num_rows - 1
    while low < high:
        middle = (low + high) // 2
        beyond = tl.load(indptr + middle + 1) > q
        high = tl.where(beyond, middle, high)
        low = tl.where(beyond, low, middle + 1)
    return low


@jit
def share(indptr, num_rows, blocks, SIZE: tl.constexpr):
    """What this program walks: `(row, begin, head, gap, count, slot)`.

    `count` positions, the first `head` of them from `begin` on, the others `gap` further. `slot` is the scratch row for the result,
    -1 where the row is finished here, -2 where there is nothing to do (then `count` is 0).
    """
    pid = tl.program_id(0).to(tl.int64)
    if pid < num_rows:
        row = pid
        begin = tl.load(indptr + row)
        end = tl.load(indptr + row + 1)
        first = (begin + SIZE - 1) // SIZE
        last = end // SIZE
        head = tl.where(first < last, first * SIZE - begin, end - begin)
        gap = tl.where(first < last, (last - first) * SIZE, 0)
        count = end - begin - gap
        slot = tl.where(first < last, blocks + first, -1)
    else:
        block = pid - num_rows
        begin = block * SIZE
        row = row_of(indptr, num_rows, begin)
        inside = tl.load(indptr + row + 1) >= begin + SIZE
        head = tl.where(inside, begin * 0 + SIZE, 0)
        gap = begin * 0
        count = head
        slot = tl.where(inside, block, -2)
    return row, begin, head, gap, count, slot


@jit
def positions(begin, head, gap, count, step, BLOCK: tl.constexpr):
    """The next positions of a share from its `step`-th on, and which of them there are."""
    n = step + tl.arange(0, BLOCK)
    return begin + n + tl.where(n >= head, gap, 0), n < count


@jit
def parts(indptr, num_rows, blocks, SIZE: tl.constexpr):
    """For the second kernel, a program a block: `(row, degree, first block, number of scratch rows)`; 0 rows unless this block is
    the first inside its row."""
    block = tl.program_id(0).to(tl.int64)
    row = row_of(indptr, num_rows, block * SIZE)
    begin = tl.load(indptr + row)
    end = tl.load(indptr + row + 1)
    first = (begin + SIZE - 1) // SIZE
    last = end // SIZE
    return row, end - begin, first, tl.where((first == block) & (first < last), last - first + 1, 0)


@jit
def scratch_rows(first, count, blocks, step, BLOCK: tl.constexpr):
    """Scratch rows of a split row from the `step`-th on, its ends before its blocks, and which of them there are."""
    n = step + tl.arange(0, BLOCK)
    return tl.where(n == 0, blocks + first, first + n - 1), n < count


@jit
def divide(a, b):
    """The nearest quotient: in float32 a plain `/` may be two roundings off."""
    if a.dtype == tl.float32:
        return tl.div_rn(a, b)
    else:
        return a / b


@jit
def add_parts(indptr, scratch, out, num_rows, blocks, C, SIZE: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr):
    """The second kernel of every sum: out_row = the sum of its scratch rows."""
    row, _, first, count = parts(indptr, num_rows, blocks, SIZE)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    acc = tl.zeros((BLOCK_E, BLOCK_C), out.dtype.element_ty)
    step = count * 0
    while step < count:
        at, there = scratch_rows(first, count, blocks, step, BLOCK_E)
        live = there[:, None] & (c < C)[None, :]
        acc += tl.load(scratch + at[:, None] * C + c[None, :], mask=live, other=0)
        step += BLOCK_E
    if count > 0:
        tl.store(out + row * C + c, tl.sum(acc, 0), mask=c < C)
