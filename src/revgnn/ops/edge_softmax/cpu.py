"""`edge_softmax` on the CPU: the edges into a node lie side by side, and the heads are the lanes of a vector."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from revgnn.kernels.cpu.blocks import num_blocks, weighted_blocks
from revgnn.kernels.cpu.channels import pad, tile
from revgnn.kernels.cpu.elements import ELEMENTS
from revgnn.kernels.cpu.kernel import Kernel, kernel, read, size, write
from revgnn.kernels.cpu.simd import add, div, exceeds, exp, fma, load, mul, select, splat, store, sub
from revgnn.ops.edge_softmax.contract import Inputs, Saved, Spec


@functools.cache
def softmax_forward(H: int, dtype: Any) -> Kernel:
    """Walk a node's edges three times: for the largest score; for the exponentials and their sum; for the quotients."""

    @kernel(
        num_rows=size,
        num_edges=size,
        stride=size,
        indptr=read(np.int64, "num_rows + 1"),
        scores=read(dtype, "num_edges * stride"),
        out=write(dtype, "num_edges * stride"),
    )
    def softmax_forward(args):
        indptr, scores, out, stride = args.indptr, args.scores, args.out, args.stride
        lowest, zero, one = splat(dtype(-np.inf), H), splat(dtype(0), H), splat(dtype(1), H)
        for _, begin, end in weighted_blocks(args, indptr, args.num_rows):
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

    return softmax_forward


@functools.cache
def softmax_backward(H: int, dtype: Any) -> Kernel:
    """With s the softmax and g its gradient, the gradient of the scores is s (g - sum of g s over the node's edges)."""

    @kernel(
        num_rows=size,
        num_edges=size,
        stride=size,
        indptr=read(np.int64, "num_rows + 1"),
        grad=read(dtype, "num_edges * stride"),
        softmax=read(dtype, "num_edges * stride"),
        out=write(dtype, "num_edges * stride"),
    )
    def softmax_backward(args):
        indptr, grad, softmax, out, stride = args.indptr, args.grad, args.softmax, args.out, args.stride
        for _, begin, end in weighted_blocks(args, indptr, args.num_rows):
            for i in range(begin, end):
                for h in range(0, stride, H):
                    dot = splat(dtype(0), H)
                    for e in range(indptr[i], indptr[i + 1]):
                        dot = fma(load(grad, e * stride + h, H), load(softmax, e * stride + h, H), dot)
                    for e in range(indptr[i], indptr[i + 1]):
                        at = e * stride + h
                        store(out, at, mul(load(softmax, at, H), sub(load(grad, at, H), dot)))

    return softmax_backward


def forward(inputs: Inputs, spec: Spec) -> tuple[Tensor, Saved]:
    assert inputs.scores is not None
    out = _walk(softmax_forward, inputs.indptr, scores=inputs.scores)
    return out, Saved(out)


def backward(grad: Tensor, inputs: Inputs, saved: Saved, spec: Spec) -> Inputs:
    return Inputs(_walk(softmax_backward, inputs.indptr, grad=grad, softmax=saved.out), None)


def _walk(factory: Any, indptr: Tensor, **inputs: Tensor) -> Tensor:
    """Run a kernel over the edges into each node, and return its result (E, H)."""
    num_edges, heads = next(iter(inputs.values())).shape
    num_nodes = indptr.numel() - 1
    lanes, padded = tile(heads)
    inputs = {name: pad(t, padded) for name, t in inputs.items()}
    result = torch.empty_like(next(iter(inputs.values())))
    run = factory(lanes, ELEMENTS[result.dtype])
    blocks = num_blocks((num_edges + num_nodes) * heads)
    run(blocks, num_rows=num_nodes, num_edges=num_edges, stride=padded, indptr=indptr, **inputs, out=result)
    return result[:, :heads].contiguous()
