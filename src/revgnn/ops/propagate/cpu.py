"""`propagate` on the CPU, forward and backward: numba kernels on explicit vectors of the channels of one head.

The gradient of `x` is the same weighted sum along the edges turned round, so one kernel serves both; that of `weight` is a dot
product an edge. Every row has one writer and one order of summation.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from revgnn.kernels.cpu import simd
from revgnn.kernels.cpu.launch import CHUNK, NUMPY, first_row, kernel, next_block, num_blocks, or_nothing, pad, run, tile
from revgnn.kernels.cpu.simd import add, div, fma, load, mul, pointer, splat, store, total


@functools.cache
def weighted_sum(C: int, weighted: bool, permuted: bool, mean: bool, dtype: Any, index: Any, position: Any) -> Any:
    """out_r = sum over the entries q of row r of weight[e] x[neighbour[q]], where e = edge[q] if `permuted`, else q."""
    revision = simd.REVISION

    def rows(record):
        _ = revision
        num_rows, heads, tiles = record[2], record[3], record[4]
        indptr, neighbour, edge = pointer(record[5], np.int64), pointer(record[6], index), pointer(record[7], position)
        x, weight, out = pointer(record[8], dtype), pointer(record[9], dtype), pointer(record[10], dtype)
        stride = heads * tiles * C
        while True:
            block = next_block(record)
            if block >= record[1]:
                return
            begin, end = first_row(indptr, num_rows, block, record[1]), first_row(indptr, num_rows, block + 1, record[1])
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

    return kernel(rows)


@functools.cache
def dot_products(C: int, dtype: Any, index: Any) -> Any:
    """out_e = grad[dst(e)] . x[src(e)], for each head."""
    revision = simd.REVISION

    def rows(record):
        _ = revision
        num_rows, heads, tiles = record[2], record[3], record[4]
        indptr, src = pointer(record[5], np.int64), pointer(record[6], index)
        grad, x, out = pointer(record[7], dtype), pointer(record[8], dtype), pointer(record[9], dtype)
        stride = heads * tiles * C
        while True:
            block = next_block(record)
            if block >= record[1]:
                return
            begin, end = first_row(indptr, num_rows, block, record[1]), first_row(indptr, num_rows, block + 1, record[1])
            for i in range(begin, end):
                for head in range(heads):
                    first = head * tiles * C
                    for c in range(first, first + tiles * C, C):
                        g = load(grad, i * stride + c, C)
                        for e in range(indptr[i], indptr[i + 1]):
                            dot = total(mul(g, load(x, np.int64(src[e]) * stride + c, C)))
                            at = e * heads + head
                            out[at] = dot if c == first else out[at] + dot

    return kernel(rows)


def forward(x: Tensor, indptr: Tensor, src: Tensor, weight: Tensor | None, mean: bool) -> Tensor:
    """`x` (N, H, C), contiguous, and `weight` (E, H) or None to (N, H, C)."""
    return _weighted_sum(x, indptr, src, None, weight, mean)


def backward(
    grad: Tensor,
    x: Tensor | None,
    weight: Tensor | None,
    indptr: Tensor,
    src: Tensor,
    by_source: tuple[Tensor, ...],
    mean: bool,
    wants_x: bool,
    wants_weight: bool,
) -> tuple[Tensor, Tensor]:
    """Gradients of x and weight; empty where not wanted. `x` is needed for the weight's, `weight` and `by_source` for that of x."""
    if mean:
        grad = grad / indptr.diff().clamp(min=1).to(grad.dtype).view(-1, 1, 1)
    grad_x = grad_w = grad.new_empty(0)
    if wants_x:
        out, dst, edge = by_source
        grad_x = _weighted_sum(grad, out, dst, edge, weight, mean=False)
    if wants_weight and x is not None:
        num_nodes, heads, channels = x.shape
        lanes, padded = tile(channels)
        grad_w = x.new_empty(src.numel(), heads)
        compiled = dot_products(lanes, NUMPY[x.dtype], NUMPY[src.dtype])
        blocks = num_blocks((src.numel() + num_nodes) * heads)
        run(compiled, blocks, num_nodes, heads, padded // lanes, indptr, src, pad(grad, padded), pad(x, padded), grad_w)
    return grad_x, grad_w


def _weighted_sum(x: Tensor, indptr: Tensor, neighbour: Tensor, edge: Tensor | None, weight: Tensor | None, mean: bool) -> Tensor:
    num_nodes, heads, channels = x.shape
    lanes, padded = tile(channels)
    x = pad(x, padded)
    out = torch.empty_like(x)
    edge = neighbour if edge is None or weight is None else edge
    permuted = edge is not neighbour
    compiled = weighted_sum(lanes, weight is not None, permuted, mean, NUMPY[x.dtype], NUMPY[neighbour.dtype], NUMPY[edge.dtype])
    run(
        compiled, num_blocks((neighbour.numel() + num_nodes) * heads), num_nodes, heads, padded // lanes, indptr, neighbour,
        edge, x, or_nothing(weight), out,
    )  # fmt: skip
    return out[..., :channels].contiguous()
