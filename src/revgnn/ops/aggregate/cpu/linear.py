r"""Sum and mean on the CPU.

With g the gradient that reaches a node, over its degree for the mean, the gradient of each of its messages is g.
"""

from __future__ import annotations

import functools

import numpy as np
from torch import Tensor

from revgnn.kernels.cpu.blocks import CHUNK, blocks, first_row, weighted_blocks
from revgnn.kernels.cpu.kernel import Kernel, kernel, read, write
from revgnn.kernels.cpu.simd import (
    add,
    add_encoded,
    add_rows,
    div,
    fma,
    greater,
    load,
    load_rows,
    mul,
    relu,
    repeat,
    select,
    splat,
    store,
    widen,
)
from revgnn.ops.aggregate.contract import Inputs, Saved, Spec
from revgnn.ops.aggregate.cpu.by_destination import by_destination_arguments, flush, scatter, walk_by_destination
from revgnn.ops.aggregate.cpu.by_source import by_source_arguments, store_row, walk_by_source
from revgnn.ops.aggregate.cpu.message import AHEAD, STATE, Dtypes, encoded, message_arguments, prefetch_row
from revgnn.ops.aggregate.cpu.passes import forward_pass, gradients_of, num_features, with_residual
from revgnn.ops.aggregate.reducers import Mean


@functools.cache
def sum_forward(C: int, K: int, dtypes: Dtypes, *, mean: bool) -> Kernel:
    dtype = dtypes.state
    LINE = 64 // dtype(0).nbytes

    @kernel(**message_arguments(K, dtypes), out=write(dtype, STATE))
    def sum_forward(args):
        num_rows, stride, eps, indptr, src = args.num_rows, args.stride, dtype(args.eps), args.indptr, args.src
        x, features, weight, out, last = args.x, args.features, args.weight, args.out, indptr[num_rows] - 1
        for _, begin, end in weighted_blocks(args, indptr, num_rows):
            for c in range(args.channel, args.channel + args.tiles * C, C):
                bias, zero = load(args.bias, c, C), splat(dtype(0), C)
                for i in range(begin, end):
                    acc = zero
                    for first in range(indptr[i], indptr[i + 1], CHUNK):
                        part = zero
                        for e in range(first, min(first + CHUNK, indptr[i + 1])):
                            prefetch_row(x, np.int64(src[min(e + AHEAD, last)]), stride, c, C, LINE)
                            before = add(load(x, np.int64(src[e]) * stride + c, C), bias)
                            part = add(part, relu(add_encoded(before, features, e * K, weight, c, stride, K)))
                        acc = add(acc, part)
                    degree = dtype(indptr[i + 1] - indptr[i])
                    acc = fma(splat(degree, C), splat(eps, C), acc)
                    if mean and degree > 0:
                        acc = div(acc, splat(degree, C))
                    store(out, i * stride + c, acc)

    return sum_forward


@functools.cache
def sum_backward_by_destination(C: int, K: int, wants_weight: bool, wants_features: bool, dtypes: Dtypes, *, mean: bool) -> Kernel:
    dtype = dtypes.state
    LINE = 64 // dtype(0).nbytes

    @kernel(**by_destination_arguments(K, wants_weight, wants_features, dtypes))
    def sum_backward_by_destination(args):
        num_rows, stride, parts, padded = args.num_rows, args.stride, args.parts, args.padded
        indptr, src, x, features, grad = args.indptr, args.src, args.x, args.features, args.grad
        partial_x, partial_weight, grad_features = args.partial_x, args.partial_weight, args.grad_features
        last = indptr[num_rows] - 1
        for block in blocks(args):
            part, tile = block % parts, block // parts
            begin, end = first_row(indptr, num_rows, part, parts), first_row(indptr, num_rows, part + 1, parts)
            for c in range(args.channel + tile * C, args.channel + args.tiles * C, args.step):
                start, sums = part * num_rows * padded + c, part * K * stride + c
                bias, zero, encoder = load(args.bias, c, C), splat(dtype(0), C), load_rows(args.weight, c, stride, C, K)
                outer, pending, one = repeat(zero, K), 0, splat(dtype(1), C)
                for i in range(begin, end):
                    g, positive = load(grad, i * stride + c, C), zero
                    if mean:
                        g = div(g, splat(dtype(indptr[i + 1] - indptr[i]), C))
                    for first in range(indptr[i], indptr[i + 1], CHUNK):
                        stop = min(first + CHUNK, indptr[i + 1])
                        for e in range(first, stop):
                            j, ahead = np.int64(src[e]), np.int64(src[min(e + AHEAD, last)])
                            prefetch_row(partial_x, ahead, padded, start, C, LINE)
                            prefetch_row(x, ahead, stride, c, C, LINE)
                            before = encoded(x, j * stride + c, features, e, encoder, bias, C, K)
                            gradient = select(greater(before, zero), g, zero)
                            positive = add(positive, select(greater(before, zero), one, zero))
                            outer = scatter(
                                gradient, e, partial_x, start + j * padded, features, outer, encoder, grad_features,
                                wants_weight, wants_features, C, K,
                            )  # fmt: skip
                        if wants_weight:
                            outer, pending = flush(outer, pending + stop - first, partial_weight, sums, stride, zero, K)
                    # The messages above zero of a row all have the gradient g: their number is exact, a sum of theirs would not be.
                    count, none = widen(positive), splat(0.0, C)
                    shared = select(greater(count, none), mul(count, widen(g)), none)  # g may be infinite where there are none
                    add_rows(args.partial_bias, part * stride + c, stride, repeat(shared, 1))
                if wants_weight:
                    add_rows(partial_weight, sums, stride, outer)

    return sum_backward_by_destination


@functools.cache
def sum_backward_by_source(C: int, dtypes: Dtypes, *, mean: bool) -> Kernel:
    dtype = dtypes.state
    LINE = 64 // dtype(0).nbytes

    @kernel(**by_source_arguments(dtypes), destination_indptr=read(np.int64, "num_rows + 1"))
    def sum_backward_by_source(args):
        num_rows, stride, indptr, dst = args.num_rows, args.stride, args.indptr, args.dst
        x, grad, grad_x, degrees, last = args.x, args.grad, args.grad_x, args.destination_indptr, indptr[num_rows] - 1
        for block, begin, end in weighted_blocks(args, indptr, num_rows):
            for c in range(args.channel, args.channel + args.tiles * C, C):
                bias, zero = load(args.bias, c, C), splat(dtype(0), C)
                for j in range(begin, end):
                    before, acc = add(load(x, j * stride + c, C), bias), zero
                    for first in range(indptr[j], indptr[j + 1], CHUNK):
                        part = zero
                        for q in range(first, min(first + CHUNK, indptr[j + 1])):
                            i, ahead = np.int64(dst[q]), np.int64(dst[min(q + AHEAD, last)])
                            prefetch_row(grad, ahead, stride, c, C, LINE)
                            g = load(grad, i * stride + c, C)
                            if mean:
                                g = div(g, splat(dtype(degrees[i + 1] - degrees[i]), C))
                            part = add(part, g)
                        acc = add(acc, part)
                    gradient = select(greater(before, zero), acc, zero)
                    store_row(gradient, j, c, block, stride, grad_x, args.partial_bias)

    return sum_backward_by_source


def forward(inputs: Inputs, spec: Spec) -> tuple[Tensor, Saved]:
    out = forward_pass(functools.partial(sum_forward, mean=isinstance(spec.how, Mean)), inputs, spec)
    return with_residual(inputs, spec, out), Saved()


def backward(grad: Tensor, inputs: Inputs, saved: Saved, spec: Spec) -> Inputs:
    mean = isinstance(spec.how, Mean)
    if num_features(inputs):
        make = functools.partial(sum_backward_by_destination, mean=mean)
        found = walk_by_destination(make, grad, inputs, spec)
    else:
        make = functools.partial(sum_backward_by_source, mean=mean)
        found = walk_by_source(make, grad, inputs, spec, widest=128, destination_indptr=inputs.indptr)
    return gradients_of(grad, found, spec)
