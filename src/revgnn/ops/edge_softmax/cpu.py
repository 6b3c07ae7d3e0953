"""`edge_softmax` on the CPU, forward and backward: the edges into a node lie side by side, the heads are the lanes of a vector."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from revgnn.kernels.cpu import simd
from revgnn.kernels.cpu.launch import NUMPY, first_row, kernel, next_block, num_blocks, pad, run, tile
from revgnn.kernels.cpu.simd import add, div, exceeds, exp, fma, load, mul, pointer, select, splat, store, sub


@functools.cache
def softmax_forward(H: int, dtype: Any) -> Any:
    """Three walks over a node's edges: the largest score; the exponentials and their sum; the quotients."""
    revision = simd.REVISION

    def rows(record):
        _ = revision
        num_rows, stride = record[2], record[3]
        indptr, scores, out = pointer(record[4], np.int64), pointer(record[5], dtype), pointer(record[6], dtype)
        lowest, zero, one = splat(dtype(-np.inf), H), splat(dtype(0), H), splat(dtype(1), H)
        while True:
            block = next_block(record)
            if block >= record[1]:
                return
            begin, end = first_row(indptr, num_rows, block, record[1]), first_row(indptr, num_rows, block + 1, record[1])
            for i in range(begin, end):
                for h in range(0, stride, H):
                    peak = lowest
                    for e in range(indptr[i], indptr[i + 1]):
                        score = load(scores, e * stride + h, H)
                        peak = select(exceeds(score, peak), score, peak)
                    peak = select(exceeds(peak, lowest), peak, zero)
                    mass = zero
                    for e in range(indptr[i], indptr[i + 1]):
                        raised = exp(sub(load(scores, e * stride + h, H), peak))
                        mass = add(mass, raised)
                        store(out, e * stride + h, raised)
                    mass = select(exceeds(mass, zero), mass, one)
                    for e in range(indptr[i], indptr[i + 1]):
                        store(out, e * stride + h, div(load(out, e * stride + h, H), mass))

    return kernel(rows)


@functools.cache
def softmax_backward(H: int, dtype: Any) -> Any:
    """With s the softmax and g its gradient: s (g - sum of g s over the node's edges)."""
    revision = simd.REVISION

    def rows(record):
        _ = revision
        num_rows, stride = record[2], record[3]
        indptr, grad, out = pointer(record[4], np.int64), pointer(record[5], dtype), pointer(record[6], dtype)
        grad_scores = pointer(record[7], dtype)
        while True:
            block = next_block(record)
            if block >= record[1]:
                return
            begin, end = first_row(indptr, num_rows, block, record[1]), first_row(indptr, num_rows, block + 1, record[1])
            for i in range(begin, end):
                for h in range(0, stride, H):
                    dot = splat(dtype(0), H)
                    for e in range(indptr[i], indptr[i + 1]):
                        dot = fma(load(grad, e * stride + h, H), load(out, e * stride + h, H), dot)
                    for e in range(indptr[i], indptr[i + 1]):
                        at = e * stride + h
                        store(grad_scores, at, mul(load(out, at, H), sub(load(grad, at, H), dot)))

    return kernel(rows)


def forward(scores: Tensor, indptr: Tensor) -> Tensor:
    """`scores` (E, H), contiguous, to (E, H)."""
    return _by_destination(softmax_forward, indptr, scores)


def backward(grad: Tensor, out: Tensor, indptr: Tensor) -> Tensor:
    """Gradient of the scores (E, H) from that of the softmax `out`."""
    return _by_destination(softmax_backward, indptr, grad, out)


def _by_destination(factory: Any, indptr: Tensor, *inputs: Tensor) -> Tensor:
    num_edges, heads = inputs[0].shape
    num_nodes = indptr.numel() - 1
    lanes, padded = tile(heads)
    inputs = tuple(pad(t, padded) for t in inputs)
    result = torch.empty_like(inputs[0])
    compiled = factory(lanes, NUMPY[result.dtype])
    run(compiled, num_blocks((num_edges + num_nodes) * heads), num_nodes, padded, indptr, *inputs, result)
    return result[:, :heads].contiguous()
