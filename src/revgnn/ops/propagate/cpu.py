"""`propagate` on the CPU: kernels on explicit vectors of the channels of one head.

Every row has one writer and one order of summation.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from torch import Tensor

from revgnn.kernels.cpu.blocks import CHUNK, weighted_blocks
from revgnn.kernels.cpu.channels import pad, tile
from revgnn.kernels.cpu.elements import ELEMENTS
from revgnn.kernels.cpu.kernel import Kernel, kernel, num_blocks, read, size, write
from revgnn.kernels.cpu.simd import add, div, fma, load, mul, splat, store, total
from revgnn.ops.propagate.contract import Inputs, Saved, Spec, heads_and_channels
from revgnn.ops.propagate.passes import backward_pass


@functools.cache
def weighted_sum_kernel(C: int, weighted: bool, permuted: bool, mean: bool, dtype: Any, index: Any, position: Any) -> Kernel:
    """out_r = sum over the entries q of row r of weight[e] x[neighbour[q]], where e = edge[q] if `permuted`, else q."""

    @kernel(
        num_rows=size,
        num_neighbours=size,
        num_edges=size,
        heads=size,
        tiles=size,
        indptr=read(np.int64, "num_rows + 1"),
        neighbour=read(index, "num_edges"),
        edge=read(position, "num_edges", optional=not permuted),
        x=read(dtype, f"num_neighbours * heads * tiles * {C}"),
        weight=read(dtype, "num_edges * heads", optional=not weighted),
        out=write(dtype, f"num_rows * heads * tiles * {C}"),
    )
    def weighted_sum(args):
        indptr, neighbour, edge, x, weight, out = args.indptr, args.neighbour, args.edge, args.x, args.weight, args.out
        heads, tiles = args.heads, args.tiles
        stride = heads * tiles * C
        for _, begin, end in weighted_blocks(args, indptr, args.num_rows):
            for r in range(begin, end):
                for head in range(heads):
                    for c in range(head * tiles * C, (head + 1) * tiles * C, C):
                        acc = splat(dtype(0), C)
                        for first in range(indptr[r], indptr[r + 1], CHUNK):
                            part = splat(dtype(0), C)
                            for q in range(first, min(first + CHUNK, indptr[r + 1])):
                                message = load(x, np.int64(neighbour[q]) * stride + c, C)
                                if weighted:
                                    e = np.int64(edge[q]) if permuted else q
                                    part = fma(splat(weight[e * heads + head], C), message, part)
                                else:
                                    part = add(part, message)
                            acc = add(acc, part)
                        if mean and indptr[r] < indptr[r + 1]:
                            acc = div(acc, splat(dtype(indptr[r + 1] - indptr[r]), C))
                        store(out, r * stride + c, acc)

    return weighted_sum


@functools.cache
def dot_products_kernel(C: int, dtype: Any, index: Any) -> Kernel:
    """out_e = grad[dst(e)] . x[src(e)], for each head."""

    @kernel(
        num_rows=size,
        num_edges=size,
        heads=size,
        tiles=size,
        indptr=read(np.int64, "num_rows + 1"),
        src=read(index, "num_edges"),
        grad=read(dtype, f"num_rows * heads * tiles * {C}"),
        x=read(dtype, f"num_rows * heads * tiles * {C}"),
        out=write(dtype, "num_edges * heads"),
    )
    def dot_products(args):
        indptr, src, grad, x, out = args.indptr, args.src, args.grad, args.x, args.out
        heads, tiles = args.heads, args.tiles
        stride = heads * tiles * C
        for _, begin, end in weighted_blocks(args, indptr, args.num_rows):
            for i in range(begin, end):
                for head in range(heads):
                    first = head * tiles * C
                    for c in range(first, first + tiles * C, C):
                        g = load(grad, i * stride + c, C)
                        for e in range(indptr[i], indptr[i + 1]):
                            dot = total(mul(g, load(x, np.int64(src[e]) * stride + c, C)))
                            at = e * heads + head
                            out[at] = dot if c == first else out[at] + dot

    return dot_products


def forward(inputs: Inputs, spec: Spec) -> tuple[Tensor, Saved]:
    return weighted_sum(inputs.x, inputs.indptr, inputs.src, None, inputs.weight, spec.mean), Saved()


def backward(grad: Tensor, inputs: Inputs, saved: Saved, spec: Spec) -> Inputs:
    return backward_pass(grad, inputs, spec, weighted_sum, dot_products)


def weighted_sum(x: Tensor, indptr: Tensor, neighbour: Tensor, edge: Tensor | None, weight: Tensor | None, mean: bool) -> Tensor:
    """Return the weighted sums over the neighbours of each row, rows of `x`; `edge` numbers the weights of the entries."""
    num_rows, (heads, channels) = indptr.numel() - 1, heads_and_channels(x)
    lanes, padded = tile(channels)
    x = pad(x, padded)
    out = x.new_empty(num_rows, *x.shape[1:])
    edge = None if weight is None else edge
    dtype, index = ELEMENTS[x.dtype], ELEMENTS[neighbour.dtype]
    position = index if edge is None else ELEMENTS[edge.dtype]
    run = weighted_sum_kernel(lanes, weight is not None, edge is not None, mean, dtype, index, position)
    run(
        num_blocks((neighbour.numel() + num_rows) * heads),
        num_rows=num_rows,
        num_neighbours=x.shape[0],
        num_edges=neighbour.numel(),
        heads=heads,
        tiles=padded // lanes,
        indptr=indptr,
        neighbour=neighbour,
        edge=edge,
        x=x,
        weight=weight,
        out=out,
    )
    return out if padded == channels else out[..., :channels].contiguous()


def dot_products(grad: Tensor, x: Tensor, indptr: Tensor, src: Tensor) -> Tensor:
    """Return the product of the gradient at the end of each edge with the state at its start, (E,) or (E, H)."""
    num_nodes, (heads, channels) = x.shape[0], heads_and_channels(x)
    lanes, padded = tile(channels)
    out = x.new_empty(src.numel(), *x.shape[1:-1])
    run = dot_products_kernel(lanes, ELEMENTS[x.dtype], ELEMENTS[src.dtype])
    run(
        num_blocks((src.numel() + num_nodes) * heads),
        num_rows=num_nodes,
        num_edges=src.numel(),
        heads=heads,
        tiles=padded // lanes,
        indptr=indptr,
        src=src,
        grad=pad(grad, padded),
        x=pad(x, padded),
        out=out,
    )
    return out
