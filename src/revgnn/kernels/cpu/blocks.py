"""How the work of a kernel is cut into blocks, and how threads take them.

Each thread takes the next block until none is left, so the load balances itself. What a block computes depends on the block alone:
any number of threads gives the same bits.
"""

# llvmlite's values and types carry no annotations that a checker could follow
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

from llvmlite import ir
from numba import njit
from numba.core import types

from revgnn.kernels.cpu.simd import intrinsic

CHUNK = 32
"""Terms that a long sum adds one by one before it adds their total to the rest, so that the sum over a hub loses fewer digits."""


@intrinsic
def take_block(typingctx, args):
    """Return the number of the next block that no thread has taken yet. It may be too large: then none is left."""

    def codegen(context, builder, signature, values):
        # the counter is the first entry of every record
        return builder.atomic_rmw("add", values[0], ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(args), codegen


@njit
def blocks(args):
    """Yield the number of each block that this thread takes."""
    block = take_block(args)
    while block < args.blocks:
        yield block
        block = take_block(args)


@njit
def even_blocks(args, count):
    """Yield `(block, begin, end)` for each block that this thread takes, of `count` rows or elements cut into equal runs."""
    for block in blocks(args):
        yield block, count * block // args.blocks, count * (block + 1) // args.blocks


@njit
def weighted_blocks(args, indptr, num_rows):
    """Yield `(block, begin, end)` for each block that this thread takes, of rows cut into runs of about equal weight: a row weighs
    one plus its edges."""
    for block in blocks(args):
        yield block, first_row(indptr, num_rows, block, args.blocks), first_row(indptr, num_rows, block + 1, args.blocks)


@njit(inline="always")
def first_row(indptr, num_rows, block, num_blocks):
    """Return the row that a block begins with if rows are cut into `num_blocks` runs of about equal weight."""
    target = (indptr[num_rows] + num_rows) * block // num_blocks
    low, high = 0, num_rows
    while low < high:
        middle = (low + high) // 2
        if indptr[middle] + middle < target:
            low = middle + 1
        else:
            high = middle
    return low
