"""`edge_softmax` on the CPU. The edges into a node are adjacent in memory, and the heads are the lanes of a vector."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from revgnn.kernels.cpu.blocks import weighted_blocks
from revgnn.kernels.cpu.channels import pad, tile
from revgnn.kernels.cpu.elements import ELEMENTS
from revgnn.kernels.cpu.kernel import Kernel, kernel, num_blocks, read, size, write
from revgnn.kernels.cpu.simd import add, div, exceeds, exp, fma, load, mul, select, splat, store, sub
from revgnn.ops.edge_softmax.contract import Inputs, Saved, Spec
from revgnn.ops.operator import gradients


@functools.cache
def softmax_forward(H: int, dtype: Any) -> Kernel:
    """Reads the edges of a node three times: for the largest score, for the exponentials and their sum, and for the quotients.

    `heads` is a multiple of `H`, the lanes of a vector.
    """

    @kernel(
        num_rows=size,
        num_edges=size,
        heads=size,
        indptr=read(np.int64, "num_rows + 1"),
        scores=read(dtype, "num_edges * heads"),
        out=write(dtype, "num_edges * heads"),
    )
    def softmax_forward(args):
        heads, indptr, scores, out = args.heads, args.indptr, args.scores, args.out
        lowest, zero, one = splat(dtype(-np.inf), H), splat(dtype(0), H), splat(dtype(1), H)
        for _, begin, end in weighted_blocks(args, indptr, args.num_rows):
            for i in range(begin, end):
                for h in range(0, heads, H):
                    peak = lowest
                    for e in range(indptr[i], indptr[i + 1]):
                        score = load(scores, e * heads + h, H)
                        peak = select(exceeds(score, peak), score, peak)
                    peak = select(exceeds(peak, lowest), peak, zero)
                    mass = zero
                    for e in range(indptr[i], indptr[i + 1]):
                        raised = exp(sub(load(scores, e * heads + h, H), peak))
                        mass = add(mass, raised)
                        store(out, e * heads + h, raised)
                    mass = select(exceeds(mass, zero), mass, one)
                    for e in range(indptr[i], indptr[i + 1]):
                        store(out, e * heads + h, div(load(out, e * heads + h, H), mass))

    return softmax_forward


@functools.cache
def softmax_backward(H: int, dtype: Any) -> Kernel:
    """With s the softmax and g its gradient: s (g - sum of g s over the node's edges)."""

    @kernel(
        num_rows=size,
        num_edges=size,
        heads=size,
        indptr=read(np.int64, "num_rows + 1"),
        grad=read(dtype, "num_edges * heads"),
        out=read(dtype, "num_edges * heads"),
        grad_scores=write(dtype, "num_edges * heads"),
    )
    def softmax_backward(args):
        heads, indptr, grad, out, grad_scores = args.heads, args.indptr, args.grad, args.out, args.grad_scores
        for _, begin, end in weighted_blocks(args, indptr, args.num_rows):
            for i in range(begin, end):
                for h in range(0, heads, H):
                    dot = splat(dtype(0), H)
                    for e in range(indptr[i], indptr[i + 1]):
                        dot = fma(load(grad, e * heads + h, H), load(out, e * heads + h, H), dot)
                    for e in range(indptr[i], indptr[i + 1]):
                        at = e * heads + h
                        store(grad_scores, at, mul(load(out, at, H), sub(load(grad, at, H), dot)))

    return softmax_backward


def forward(inputs: Inputs, spec: Spec) -> tuple[Tensor, Saved]:
    scores, indptr = inputs
    num_edges, heads = scores.shape
    num_rows = indptr.numel() - 1
    lanes, padded = tile(heads)
    scores = pad(scores, padded)
    out = torch.empty_like(scores)
    blocks = num_blocks((num_edges + num_rows) * heads)
    run = softmax_forward(lanes, ELEMENTS[scores.dtype])
    run(blocks, num_rows=num_rows, num_edges=num_edges, heads=padded, indptr=indptr, scores=scores, out=out)
    out = out[:, :heads].contiguous()
    return out, Saved(out)


def backward(grad: Tensor, inputs: Inputs, saved: Saved, spec: Spec) -> Inputs:
    indptr, (num_edges, heads) = inputs.indptr, grad.shape
    num_rows = indptr.numel() - 1
    lanes, padded = tile(heads)
    grad, out = pad(grad, padded), pad(saved.out, padded)
    grad_scores = torch.empty_like(grad)
    blocks = num_blocks((num_edges + num_rows) * heads)
    run = softmax_backward(lanes, ELEMENTS[grad.dtype])
    run(blocks, num_rows=num_rows, num_edges=num_edges, heads=padded, indptr=indptr, grad=grad, out=out, grad_scores=grad_scores)
    return gradients(Inputs, scores=grad_scores[:, :heads].contiguous())
