"""`propagate` on the GPU, forward and backward: Triton kernels with the contract of those of the CPU.

There are no atomic operations; long rows are split (`revgnn.kernels.gpu.split_rows`).
"""

from __future__ import annotations

import torch
import triton.language as tl
from torch import Tensor

from revgnn.kernels.gpu.split_rows import Split, Tile, divide, jit, launch, parts, positions, scratch_rows, share
from revgnn.ops.propagate.contract import Inputs, Saved, Spec, gradients


@jit
def weighted_sum(
    indptr, neighbour, edge, x, weight, out, part, num_rows, blocks, heads, C,
    WEIGHTED: tl.constexpr, PERMUTED: tl.constexpr, MEAN: tl.constexpr, SIZE: tl.constexpr,
    BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """out_r = sum over the entries q of row r of weight[e] x[neighbour[q]], where e = edge[q] if `PERMUTED`, else q."""
    row, begin, head, gap, count, slot = share(indptr, num_rows, blocks, SIZE)
    h = tl.program_id(1)
    c = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    acc = tl.zeros((BLOCK_E, BLOCK_C), out.dtype.element_ty)
    step = count * 0
    while step < count:
        q, there = positions(begin, head, gap, count, step, BLOCK_E)
        j = tl.load(neighbour + q, mask=there, other=0).to(tl.int64)
        m = tl.load(x + (j * heads + h)[:, None] * C + c[None, :], mask=there[:, None] & (c < C)[None, :], other=0)
        if WEIGHTED:
            e = q
            if PERMUTED:
                e = tl.load(edge + q, mask=there, other=0).to(tl.int64)
            m *= tl.load(weight + e * heads + h, mask=there, other=0)[:, None]
        acc += m
        step += BLOCK_E
    total = tl.sum(acc, 0)
    if slot == -1:
        if MEAN:
            total = divide(total, tl.where(count > 0, count, 1).to(total.dtype))
        tl.store(out + (row * heads + h) * C + c, total, mask=c < C)
    elif slot >= 0:
        tl.store(part + (slot * heads + h) * C + c, total, mask=c < C)


@jit
def weighted_sum_finish(
    indptr, part, out, num_rows, blocks, heads, C,
    MEAN: tl.constexpr, SIZE: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    row, degree, start, count = parts(indptr, num_rows, blocks, SIZE)
    h = tl.program_id(1)
    c = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    acc = tl.zeros((BLOCK_E, BLOCK_C), out.dtype.element_ty)
    step = count * 0
    while step < count:
        at, there = scratch_rows(start, count, blocks, step, BLOCK_E)
        acc += tl.load(part + (at * heads + h)[:, None] * C + c[None, :], mask=there[:, None] & (c < C)[None, :], other=0)
        step += BLOCK_E
    if count > 0:
        total = tl.sum(acc, 0)
        if MEAN:
            total = divide(total, degree.to(total.dtype))
        tl.store(out + (row * heads + h) * C + c, total, mask=c < C)


@jit
def dot_products(
    indptr, src, grad, x, out, num_rows, blocks, heads, C,
    SIZE: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """out_e = grad[dst(e)] . x[src(e)], for each head; every edge has one program, which walks all channels."""
    row, begin, head, gap, count, _slot = share(indptr, num_rows, blocks, SIZE)
    h = tl.program_id(1)
    step = count * 0
    while step < count:
        e, there = positions(begin, head, gap, count, step, BLOCK_E)
        j = tl.load(src + e, mask=there, other=0).to(tl.int64)
        acc = tl.zeros((BLOCK_E, BLOCK_C), out.dtype.element_ty)
        channel = tl.program_id(2)
        while channel < C:
            c = channel + tl.arange(0, BLOCK_C)
            g = tl.load(grad + (row * heads + h) * C + c, mask=c < C, other=0)
            acc += g[None, :] * tl.load(
                x + (j * heads + h)[:, None] * C + c[None, :], mask=there[:, None] & (c < C)[None, :], other=0
            )  # fmt: skip
            channel += BLOCK_C
        tl.store(out + e * heads + h, tl.sum(acc, 1), mask=there)
        step += BLOCK_E


def forward(inputs: Inputs, spec: Spec) -> tuple[Tensor, Saved]:
    assert inputs.x is not None
    return weighted_sum_of(inputs.x, inputs.indptr, inputs.src, None, inputs.weight, spec.mean), Saved()


def backward(grad: Tensor, inputs: Inputs, saved: Saved, spec: Spec) -> Inputs:
    return gradients(grad, inputs, spec, weighted_sum_of, dot_products_of)


def weighted_sum_of(x: Tensor, indptr: Tensor, neighbour: Tensor, edge: Tensor | None, weight: Tensor | None, mean: bool) -> Tensor:
    """Return the weighted sums over the neighbours of each row, (N, H, C); `edge` numbers the weights of the entries."""
    num_nodes, heads, channels = x.shape
    split, tile = Split.of(num_nodes, neighbour.numel()), Tile.of(channels)
    out, part = torch.empty_like(x), split.scratch(x, heads, channels)
    sizes = (num_nodes, split.blocks, heads, channels)
    shape = {"MEAN": mean, "SIZE": split.size, "BLOCK_E": tile.edges, "BLOCK_C": tile.channels}
    launch(
        weighted_sum, (num_nodes + split.blocks, heads, tile.steps), x, tile.warps, indptr, neighbour,
        neighbour if edge is None else edge, x, x if weight is None else weight, out, part, *sizes,
        WEIGHTED=weight is not None, PERMUTED=edge is not None, **shape,
    )  # fmt: skip
    launch(weighted_sum_finish, (split.blocks, heads, tile.steps), x, tile.warps, indptr, part, out, *sizes, **shape)
    return out


def dot_products_of(grad: Tensor, x: Tensor, indptr: Tensor, src: Tensor) -> Tensor:
    """Return the product of the gradient at the end of each edge with the state at its start, (E, H)."""
    num_nodes, heads, channels = x.shape
    split, tile = Split.of(num_nodes, src.numel()), Tile.of(channels)
    out = x.new_empty(src.numel(), heads)
    launch(
        dot_products, (num_nodes + split.blocks, heads, 1), x, tile.warps, indptr, src, grad, x, out,
        num_nodes, split.blocks, heads, channels, SIZE=split.size, BLOCK_E=tile.edges, BLOCK_C=tile.channels,
    )  # fmt: skip
    return out
