"""The maximum on the CPU.

The forward pass keeps which edge won, N x C. The backward pass reads only that: it computes no message again.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from revgnn.kernels.cpu.blocks import blocks, even_blocks, weighted_blocks
from revgnn.kernels.cpu.elements import ELEMENTS
from revgnn.kernels.cpu.kernel import Kernel, kernel, num_blocks, read, size, write
from revgnn.kernels.cpu.simd import (
    add,
    add_encoded,
    any_nan,
    exceeds,
    fma,
    greater,
    load,
    load_converted,
    prefetch,
    scratch,
    select,
    splat,
    store,
    widen,
)
from revgnn.ops.aggregate.contract import Inputs, Saved, Spec
from revgnn.ops.aggregate.cpu.message import AHEAD, MESSAGES, STATE, Dtypes, message_arguments, prefetch_row, tiles


def position_dtype(src: Tensor) -> torch.dtype:
    """Return the dtype of positions in `src`, on every device."""
    return torch.int32 if src.numel() < 2**31 else torch.int64


# --- forward ---------------------------------------------------------------------------------------------------------------------


@njit(inline="always")
def without_bias(x, row, features, e, weight, stride, c, C, K):
    """Return channels c to c + C of  x_row + A_e W."""
    return add_encoded(load(x, row * stride + c, C), features, e * K, weight, c, stride, K)


@njit(inline="always")
def decode(stored, first, stop, decoded, K, FOUR, dtype):
    """Write the features of the edges `first` to `stop`, stored in 16 bits, to `decoded`. `FOUR` is 4 K: four edges at a time.

    They are read in bursts, which the hardware does not predict: those of the chunk after the next are prefetched.
    """
    whole = first + (stop - first) // 4 * 4
    for e in range(first, whole, 4):
        prefetch(stored, (e + 2 * MESSAGES) * K)
        store(decoded, (e - first) * K, load_converted(stored, e * K, FOUR, dtype))
    for e in range(whole, stop):
        store(decoded, (e - first) * K, load_converted(stored, e * K, K, dtype))


@functools.cache
def max_forward(C: int, K: int, dtypes: Dtypes, position: Any, *, save: bool, residual: bool) -> Kernel:
    """The bias is the same for all messages, and ReLU keeps their order: both are applied after the loop. If ReLU sets the largest
    message to 0, there is no winner.

    A comparison with NaN is false. The sum of the messages shows whether there was a NaN (or opposite infinities), at a quarter of
    the cost of testing each; then the node is computed again by comparisons that let NaN win.
    """
    dtype = dtypes.state
    LINE, in_16_bits = 64 // dtype(0).nbytes, K > 0 and dtypes.features != dtype
    ROOM, FOUR = MESSAGES * K if in_16_bits else 1, 4 * K

    @kernel(**message_arguments(K, dtypes), out=write(dtype, STATE), winner=write(position, STATE, optional=not save))
    def max_forward(args):
        num_rows, stride, eps, indptr, src = args.num_rows, args.stride, dtype(args.eps), args.indptr, args.src
        x, weight, out, winner, last = args.x, args.weight, args.out, args.winner, indptr[num_rows] - 1
        stored = args.features
        if in_16_bits:
            features = scratch(dtype, ROOM)
        else:
            features = stored
        none, lowest = splat(position(-1), C), splat(dtype(-np.inf), C)
        for _, begin, end in weighted_blocks(args, indptr, num_rows):
            for c in range(args.channel, args.channel + args.tiles * C, C):
                bias, zero = load(args.bias, c, C), splat(dtype(0), C)
                for i in range(begin, end):
                    best, arg, sum_of_all = lowest, none, zero
                    for first in range(indptr[i], indptr[i + 1], MESSAGES):
                        stop, skipped = min(first + MESSAGES, indptr[i + 1]), 0
                        if in_16_bits:
                            skipped = first
                            decode(stored, first, stop, features, K, FOUR, dtype)
                        for e in range(first, stop):
                            prefetch_row(x, np.int64(src[min(e + AHEAD, last)]), stride, c, C, LINE)
                            m = without_bias(x, np.int64(src[e]), features, e - skipped, weight, stride, c, C, K)
                            sum_of_all = add(sum_of_all, m)
                            wins = greater(m, best)
                            best = select(wins, m, best)
                            if save:
                                arg = select(wins, splat(position(e), C), arg)
                    if any_nan(sum_of_all):
                        best, arg = lowest, none
                        for e in range(indptr[i], indptr[i + 1]):
                            m = without_bias(x, np.int64(src[e]), stored, e, weight, stride, c, C, K)
                            wins = exceeds(m, best)
                            best = select(wins, m, best)
                            if save:
                                arg = select(wins, splat(position(e), C), arg)
                    best = add(best, bias)
                    positive = exceeds(best, zero)
                    if indptr[i] < indptr[i + 1]:
                        best, arg = add(select(positive, best, zero), splat(eps, C)), select(positive, arg, none)
                    else:
                        best = zero
                    if residual:
                        best = add(load(x, i * stride + c, C), best)
                    store(out, i * stride + c, best)
                    if save:
                        store(winner, i * stride + c, arg)

    return max_forward


def forward(inputs: Inputs, spec: Spec) -> tuple[Tensor, Saved]:
    x, features, src = inputs.x, inputs.edge_attr, inputs.src
    assert x is not None
    (num_nodes, channels), num_edges, out = x.shape, src.numel(), torch.empty_like(x)
    K, stored = (0, x.dtype) if features is None else (features.shape[1], features.dtype)
    dtypes, position = Dtypes(ELEMENTS[x.dtype], ELEMENTS[stored], ELEMENTS[src.dtype]), position_dtype(src)
    winner = torch.empty_like(x, dtype=position) if spec.wanted else None
    bias = x.new_zeros(channels) if inputs.bias is None else inputs.bias
    for channel, lanes, count in tiles(channels, K):
        max_forward(lanes, K, dtypes, ELEMENTS[position], save=winner is not None, residual=spec.residual)(
            num_blocks(num_edges + num_nodes),
            num_rows=num_nodes,
            num_edges=num_edges,
            stride=channels,
            channel=channel,
            tiles=count,
            eps=spec.eps,
            indptr=inputs.indptr,
            src=src,
            x=x,
            features=features,
            weight=inputs.weight,
            bias=bias,
            out=out,
            winner=winner,
        )
    return out, Saved(winner=winner)


# --- backward --------------------------------------------------------------------------------------------------------------------


@functools.cache
def max_backward_x(residual: bool, wants_bias: bool, dtype: Any, index: Any, position: Any) -> Kernel:
    """Scatter to the sources. A block owns `width` channels of all rows: each element has one writer and one order of summation."""
    EARLY = 8

    @kernel(
        num_rows=size,
        num_edges=size,
        channels=size,
        width=size,
        winner=read(position, "num_rows * channels"),
        grad=read(dtype, "num_rows * channels"),
        src=read(index, "num_edges"),
        grad_x=write(dtype, "num_rows * channels"),
        grad_bias=write(np.float64, "channels", optional=not wants_bias),
    )
    def max_backward_x(args):
        num_rows, channels, width = args.num_rows, args.channels, args.width
        winner, grad, src, grad_x, grad_bias = args.winner, args.grad, args.src, args.grad_x, args.grad_bias
        for block in blocks(args):
            first, stop = block * width, min(block * width + width, channels)
            for i in range(num_rows):
                for c in range(first, stop):
                    grad_x[i * channels + c] = grad[i * channels + c] if residual else dtype(0)
            for i in range(num_rows):
                ahead = min(i + EARLY, num_rows - 1)
                for c in range(first, stop):
                    prefetch(src, max(np.int64(winner[ahead * channels + c]), 0))
                    e = winner[i * channels + c]
                    if e >= 0:
                        grad_x[np.int64(src[e]) * channels + c] += grad[i * channels + c]
                        if wants_bias:
                            grad_bias[c] += grad[i * channels + c]

    return max_backward_x


@functools.cache
def max_backward_edges(K: int, wants_features: bool, dtype: Any, stored: Any, position: Any) -> Kernel:
    """Compute the gradients of weight and bias, a partial sum in float64 a block, and of the edge features.

    A winner's features are anywhere among those of the node's edges: they are prefetched two nodes ahead.
    """
    EARLY = 2

    @kernel(
        num_rows=size,
        channels=size,
        winner=read(position, "num_rows * channels"),
        grad=read(dtype, "num_rows * channels"),
        features=read(stored),
        weight_t=read(dtype, f"channels * {K}"),
        partial_weight_t=write(np.float64, f"blocks * channels * {K}"),
        partial_bias=write(np.float64, "blocks * channels"),
        grad_features=write(dtype, optional=not wants_features),
    )
    def max_backward_edges(args):
        num_rows, channels, winner, grad = args.num_rows, args.channels, args.winner, args.grad
        features, weight_t, grad_features = args.features, args.weight_t, args.grad_features
        partial_weight_t, partial_bias = args.partial_weight_t, args.partial_bias
        for block, begin, end in even_blocks(args, num_rows):
            start = block * channels
            for i in range(begin, end):
                ahead = min(i + EARLY, end - 1)
                for c in range(channels):
                    prefetch(features, max(np.int64(winner[ahead * channels + c]), 0) * K)
                    e = np.int64(winner[i * channels + c])
                    if e >= 0:
                        partial_bias[start + c] += grad[i * channels + c]
                        g = splat(grad[i * channels + c], K)
                        row, sums = widen(load_converted(features, e * K, K, dtype)), (start + c) * K
                        store(partial_weight_t, sums, fma(widen(g), row, load(partial_weight_t, sums, K)))
                        if wants_features:
                            store(grad_features, e * K, fma(g, load(weight_t, c * K, K), load(grad_features, e * K, K)))

    return max_backward_edges


def backward(grad: Tensor, inputs: Inputs, saved: Saved, spec: Spec) -> Inputs:
    winner, src, features, weight = saved.winner, inputs.src, inputs.edge_attr, inputs.weight
    assert winner is not None
    num_nodes, channels = grad.shape
    grad_x, wants_edges = torch.empty_like(grad), features is not None and bool({"weight", "edge_attr"} & set(spec.wanted))
    sums = torch.zeros(channels, dtype=torch.float64) if "bias" in spec.wanted and not wants_edges else None
    width = 16 if channels >= 32 else 8  # 16 float32 are a cache line, which two threads then seldom share
    max_backward_x(spec.residual, sums is not None, ELEMENTS[grad.dtype], ELEMENTS[src.dtype], ELEMENTS[winner.dtype])(
        -(-channels // width),
        num_rows=num_nodes,
        num_edges=src.numel(),
        channels=channels,
        width=width,
        winner=winner,
        grad=grad,
        src=src,
        grad_x=grad_x,
        grad_bias=sums,
    )
    grad_features, grad_weight, grad_bias = None, None, None if sums is None else sums.to(grad.dtype)
    if wants_edges:
        assert features is not None
        assert weight is not None
        grad_features, grad_weight, grad_bias = _backward_edges(grad, features, weight, winner, spec.wanted)
    # not `gradients`: it checks names, and this is called once a layer and group of a small graph's step
    return Inputs(grad_x, grad_features, grad_weight, grad_bias, None, *_NO_GRADIENTS)


_NO_GRADIENTS: tuple[Any, ...] = (None,) * 5
"""In place of gradients of the tensors that describe the graph."""


def _backward_edges(
    grad: Tensor, features: Tensor, weight: Tensor, winner: Tensor, wanted: tuple[str, ...]
) -> tuple[Tensor | None, Tensor | None, Tensor]:
    """Return the gradients of edge features, weight and bias."""
    (num_nodes, channels), K, blocks = grad.shape, features.shape[1], num_blocks(grad.numel(), most=64)
    partial_weight_t = grad.new_zeros(blocks, channels, K, dtype=torch.float64)
    partial_bias = grad.new_zeros(blocks, channels, dtype=torch.float64)
    grad_features = torch.zeros_like(features) if "edge_attr" in wanted else None
    dtypes = ELEMENTS[grad.dtype], ELEMENTS[features.dtype], ELEMENTS[winner.dtype]
    max_backward_edges(K, grad_features is not None, *dtypes)(
        blocks,
        num_rows=num_nodes,
        channels=channels,
        winner=winner,
        grad=grad,
        features=features,
        weight_t=weight.t().contiguous(),
        partial_weight_t=partial_weight_t,
        partial_bias=partial_bias,
        grad_features=grad_features,
    )
    grad_weight = partial_weight_t.sum(0).t().to(grad.dtype).contiguous() if "weight" in wanted else None
    return grad_features, grad_weight, partial_bias.sum(0).to(grad.dtype)
