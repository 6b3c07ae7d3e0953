"""`propagate` on the GPU. There are no atomic operations, and long rows are split (`revgnn.kernels.gpu.split_rows`)."""

from __future__ import annotations

import torch
import triton.language as tl
from torch import Tensor

from revgnn.kernels.gpu.launch import jit
from revgnn.kernels.gpu.split_rows import Rows, divide, parts, positions, scratch_rows, share
from revgnn.ops.propagate.contract import Inputs, Saved, Spec, heads_and_channels
from revgnn.ops.propagate.passes import backward_pass


@jit
def weighted_sum_kernel(
    indptr, neighbour, edge, x, weight, out, part, num_rows, blocks, heads, C: tl.constexpr,
    WEIGHTED: tl.constexpr, PERMUTED: tl.constexpr, MEAN: tl.constexpr, SIZE: tl.constexpr,
    BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Compute out_r, the sum over the entries q of row r of weight[e] x[neighbour[q]], with e = edge[q] if `PERMUTED`, else q."""
    row, begin, head, gap, count, slot = share(indptr, num_rows, blocks, SIZE)
    h = tl.program_id(2)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    acc = tl.zeros((BLOCK_E, BLOCK_C), out.dtype.element_ty)
    step = count * 0
    while step < count:
        q, exists = positions(begin, head, gap, count, step, BLOCK_E)
        j = tl.load(neighbour + q).to(tl.int64)
        m = tl.load(x + (j * heads + h)[:, None] * C + c[None, :], mask=(c < C)[None, :], other=0)
        if WEIGHTED:
            e = q
            if PERMUTED:
                e = tl.load(edge + q).to(tl.int64)
            m *= tl.load(weight + e * heads + h)[:, None]
        acc += tl.where(exists[:, None], m, 0)
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
    indptr, part, out, num_rows, blocks, heads, C: tl.constexpr,
    MEAN: tl.constexpr, SIZE: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    row, degree, start, count = parts(indptr, num_rows, blocks, SIZE)
    h = tl.program_id(2)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    acc = tl.zeros((BLOCK_E, BLOCK_C), out.dtype.element_ty)
    step = count * 0
    while step < count:
        at, exists = scratch_rows(start, count, blocks, step, BLOCK_E)
        acc += tl.load(part + (at * heads + h)[:, None] * C + c[None, :], mask=exists[:, None] & (c < C)[None, :], other=0)
        step += BLOCK_E
    if count > 0:
        total = tl.sum(acc, 0)
        if MEAN:
            total = divide(total, degree.to(total.dtype))
        tl.store(out + (row * heads + h) * C + c, total, mask=c < C)


@jit
def dot_products_kernel(
    indptr, src, grad, x, out, num_rows, blocks, heads, C: tl.constexpr,
    SIZE: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Compute out_e = grad[dst(e)] . x[src(e)] for each head. One program takes all channels of an edge."""
    row, begin, head, gap, count, _slot = share(indptr, num_rows, blocks, SIZE)
    h = tl.program_id(2)
    step = count * 0
    while step < count:
        e, exists = positions(begin, head, gap, count, step, BLOCK_E)
        j = tl.load(src + e).to(tl.int64)
        acc = tl.zeros((BLOCK_E, BLOCK_C), out.dtype.element_ty)
        channel = tl.program_id(1) * BLOCK_C  # 0, as a tensor
        while channel < C:
            c = channel + tl.arange(0, BLOCK_C)
            g = tl.load(grad + (row * heads + h) * C + c, mask=c < C, other=0)
            acc += g[None, :] * tl.load(x + (j * heads + h)[:, None] * C + c[None, :], mask=(c < C)[None, :], other=0)
            channel += BLOCK_C
        tl.store(out + e * heads + h, tl.sum(acc, 1), mask=exists)
        step += BLOCK_E


def forward(inputs: Inputs, spec: Spec) -> tuple[Tensor, Saved]:
    return weighted_sum(inputs.x, inputs.indptr, inputs.src, None, inputs.weight, spec.mean), Saved()


def backward(grad: Tensor, inputs: Inputs, saved: Saved, spec: Spec) -> Inputs:
    return backward_pass(grad, inputs, spec, weighted_sum, dot_products)


def weighted_sum(x: Tensor, indptr: Tensor, neighbour: Tensor, edge: Tensor | None, weight: Tensor | None, mean: bool) -> Tensor:
    """Return the weighted sums over the neighbours of each row, shape of `x`; `edge` numbers the weights of the entries."""
    heads, channels = heads_and_channels(x)
    rows = Rows(indptr, neighbour.numel(), channels, heads=heads)
    out, part = torch.empty_like(x), rows.scratch(x.dtype, heads, channels)
    rows.run(
        weighted_sum_kernel, neighbour=neighbour, edge=neighbour if edge is None else edge, x=x,
        weight=x if weight is None else weight, out=out, part=part, heads=heads, C=channels,
        WEIGHTED=weight is not None, PERMUTED=edge is not None, MEAN=mean,
    )  # fmt: skip
    rows.finish(weighted_sum_finish, part=part, out=out, heads=heads, C=channels, MEAN=mean)
    return out


def dot_products(grad: Tensor, x: Tensor, indptr: Tensor, src: Tensor) -> Tensor:
    """Return the product of the gradient at the end of each edge with the state at its start, (E,) or (E, H)."""
    heads, channels = heads_and_channels(x)
    rows = Rows(indptr, src.numel(), channels, heads=heads)
    out = x.new_empty(src.numel(), *x.shape[1:-1])
    rows.run(dot_products_kernel, steps=1, src=src, grad=grad, x=x, out=out, heads=heads, C=channels)
    return out
