"""How the GPU kernels divide the edges of nodes among programs, so that all programs finish at about the same time.

Edges are cut into blocks of `Split.size` positions. A block that lies inside one row has a program of its own. The rest of each
row, its two ends, fewer than two blocks in all, belongs to the program of the row. A row that contains no whole block is finished
by that program. For other rows each program writes its partial result to a scratch row, and a second kernel combines these in the
order of the edges. The kernels derive all of this from `indptr`: there is no preparation, no synchronisation and no atomic
operation, and the order of summation is fixed.

The programs of a grid are the rows, then the blocks. The scratch memory has 2 x blocks rows: row b for block b, and row
`blocks + b` for the ends of the row whose first block is b.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import triton.language as tl
from torch import Tensor

from revgnn.kernels.gpu.launch import jit, launch, power_of_two

SPLIT = 256
"""Smallest number of edges in a block: a power of two. A program reads fewer than twice as many."""


class Split(NamedTuple):
    """How many edges a block has, and how many blocks there are."""

    size: int
    blocks: int

    @classmethod
    def of(cls, num_rows: int, num_edges: int) -> Split:
        """Return the split for a graph. Blocks grow with the mean degree: scratch has at most as many rows as the result."""
        mean = 2 * num_edges // max(1, num_rows)
        size = max(SPLIT, power_of_two(mean))
        return cls(size, num_edges // size)

    def scratch(self, like: Tensor, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """Return uninitialised scratch rows of this shape, on the device of `like` and by default in its dtype."""
        return like.new_empty((2 * self.blocks, *shape), dtype=dtype)


class Tile(NamedTuple):
    """Edges and channels that a program holds at once, both powers of two; programs along the channels; warps of a program."""

    edges: int
    channels: int
    steps: int
    warps: int

    @classmethod
    def of(cls, channels: int, elements: int = 512, widest: int = 128) -> Tile:
        """Return a tile of about `elements` elements, with at most `widest` channels.

        Small tiles and few warps leave registers for many programs, which hide from one another that they wait for memory.
        """
        wide = min(widest, power_of_two(channels))
        edges = max(4, min(32 if wide <= 16 else 16, elements // wide))
        return cls(edges, wide, math.ceil(channels / wide), 2 if edges >= 16 and edges * wide >= 512 else 1)


class Rows:
    """The rows of a graph, split, for kernels that read the edges of each row.

    A kernel takes, beside its own arguments, `indptr`, `num_rows`, `blocks`, and the constants `SIZE` (edges of a block), `BLOCK_E`
    and `BLOCK_C` (edges and channels of a tile). Programs count rows and blocks along axis 0, tiles of channels along axis 1 and
    heads along axis 2.

    Args:
        indptr: (N+1,), where the edges of each row begin.
        num_edges: E.
        channels: of a head.
        heads: programs along axis 2.
        elements: of a tile, about.
    """

    def __init__(self, indptr: Tensor, num_edges: int, channels: int, *, heads: int = 1, elements: int = 512) -> None:
        self.num_rows = indptr.numel() - 1
        self.split = Split.of(self.num_rows, num_edges)
        self.tile = Tile.of(channels, elements)
        self._indptr, self._heads = indptr, heads
        self._common = {
            "indptr": indptr,
            "num_rows": self.num_rows,
            "blocks": self.split.blocks,
            "SIZE": self.split.size,
            "BLOCK_E": self.tile.edges,
            "BLOCK_C": self.tile.channels,
        }

    @property
    def num_programs(self) -> int:
        """Programs of `run`, with the default number of steps."""
        return (self.num_rows + self.split.blocks) * self.tile.steps * self._heads

    def scratch(self, dtype: torch.dtype, *shape: int) -> Tensor:
        """Return uninitialised scratch rows of this shape."""
        return self.split.scratch(self._indptr, *shape, dtype=dtype)

    def run(self, kernel: Any, *, steps: int | None = None, **arguments: Any) -> None:
        """Run a kernel with a program for each row and each block.

        Args:
            kernel: begins with `share`.
            steps: programs along the channels; by default one for each tile.
            arguments: the kernel's own, by name.
        """
        self._launch(kernel, self.num_rows + self.split.blocks, steps, arguments)

    def finish(self, kernel: Any, **arguments: Any) -> None:
        """Run the second kernel, which begins with `parts` and completes the rows that were split: a program for each block."""
        self._launch(kernel, self.split.blocks, None, arguments)

    def _launch(self, kernel: Any, programs: int, steps: int | None, arguments: dict[str, Any]) -> None:
        grid = (programs, self.tile.steps if steps is None else steps, self._heads)
        launch(kernel, grid, self._indptr, self.tile.warps, **self._common, **arguments)


# --- inside kernels --------------------------------------------------------------------------------------------------------------


@jit
def row_of(indptr, num_rows, q):
    """Return the row that position `q` lies in."""
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
    """Return the positions that this program reads, as `(row, begin, head, gap, count, slot)`.

    There are `count` positions: the first `head` of them begin at `begin`, the others are `gap` further. `slot` is the scratch row
    for the result, or -1 if this program finishes the row, or -2 if there is nothing to do (then `count` is 0).
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
    return row, begin, head.to(tl.int32), gap, count.to(tl.int32), slot


@jit
def positions(begin, head, gap, count, step, BLOCK: tl.constexpr):
    """Return the positions of a share from its `step`-th on, and a mask of those that exist. In place of others stands the last,
    so that they can be read; there must be one."""
    n = step + tl.arange(0, BLOCK)
    return position(begin, head, gap, tl.minimum(n, count - 1)), n < count


@jit
def position(begin, head, gap, n):
    """Return the `n`-th position of a share."""
    return begin + n + tl.where(n >= head, gap, 0)


@jit
def parts(indptr, num_rows, blocks, SIZE: tl.constexpr):
    """Return, in a second kernel, `(row, degree, first block, number of scratch rows)`.

    The number is 0 unless the block of this program is the first one inside its row.
    """
    block = tl.program_id(0).to(tl.int64)
    row = row_of(indptr, num_rows, block * SIZE)
    begin = tl.load(indptr + row)
    end = tl.load(indptr + row + 1)
    first = (begin + SIZE - 1) // SIZE
    last = end // SIZE
    return row, end - begin, first, tl.where((first == block) & (first < last), last - first + 1, 0)


@jit
def scratch_rows(first, count, blocks, step, BLOCK: tl.constexpr):
    """Return the scratch rows of a split row from the `step`-th on, ends of the row first, and a mask of those that exist."""
    n = step + tl.arange(0, BLOCK)
    return tl.where(n == 0, blocks + first, first + n - 1), n < count


@jit
def divide(a, b):
    """Return the quotient, correctly rounded. A plain `/` in float32 may be off by two units in the last place."""
    if a.dtype == tl.float32:
        return tl.div_rn(a, b)
    else:
        return a / b


@jit
def falling_exp(v):
    """Return exp(v) for v <= 0. The GPU's own in float32 multiplies by log2(e) first, and is off by as many roundings as v has
    units; here a multiple of log(2) is taken off first, exactly."""
    if v.dtype == tl.float32:
        v = tl.where(v < -104, -104, v)  # 0 in float32
        whole = tl.floor(v * 1.4426950408889634 + 0.5)
        rest = v - whole * 0.693359375 + whole * 2.12194440054690583e-4
        return tl.exp(rest) * tl.exp2(whole)
    else:
        return tl.exp(v)


@jit
def add_parts(
    indptr, scratch, out, num_rows, blocks, C: tl.constexpr, SIZE: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr
):
    """Add up the scratch rows of each split row: the second kernel of a sum."""
    row, _, first, count = parts(indptr, num_rows, blocks, SIZE)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    acc = tl.zeros((BLOCK_E, BLOCK_C), out.dtype.element_ty)
    step = count * 0
    while step < count:
        at, exists = scratch_rows(first, count, blocks, step, BLOCK_E)
        live = exists[:, None] & (c < C)[None, :]
        acc += tl.load(scratch + at[:, None] * C + c[None, :], mask=live, other=0)
        step += BLOCK_E
    if count > 0:
        tl.store(out + row * C + c, tl.sum(acc, 0), mask=c < C)
