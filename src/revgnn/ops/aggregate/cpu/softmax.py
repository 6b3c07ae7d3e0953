r"""Softmax aggregation on the CPU.

With g the gradient that reaches a node and $s = \mathrm{softmax}_j(t\, m_{ij})$, the gradient of a message is
$g s (1 + t (m - out))$, and that of the temperature is the sum of $g s m (m - out)$. The semi-gradient of a message is $g s$.

Scores are t m log2(e), so that the exponentials are powers of 2.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from numba import njit
from torch import Tensor

from revgnn.kernels.cpu.blocks import CHUNK, blocks, first_row, weighted_blocks
from revgnn.kernels.cpu.kernel import Kernel, kernel, number, read, write
from revgnn.kernels.cpu.simd import (
    add,
    add_rows,
    div,
    exp2_falling,
    fma,
    greater,
    larger,
    load,
    load_rows,
    mul,
    repeat,
    scratch,
    select,
    splat,
    store,
    sub,
    total,
    widen,
)
from revgnn.ops.aggregate.contract import Inputs, Saved, Spec
from revgnn.ops.aggregate.cpu.by_destination import by_destination_arguments, flush, scatter, walk_by_destination
from revgnn.ops.aggregate.cpu.by_source import by_source_arguments, store_row, walk_by_source
from revgnn.ops.aggregate.cpu.message import (
    AHEAD,
    LOG2_E,
    MESSAGES,
    STATE,
    Dtypes,
    encoded,
    keep_messages,
    message,
    message_arguments,
    prefetch_row,
)
from revgnn.ops.aggregate.cpu.passes import add_in_order, forward_pass, gradients_of, num_features, parameter_of, with_residual
from revgnn.ops.aggregate.reducers import Softmax


@functools.cache
def softmax_forward(C: int, K: int, dtypes: Dtypes) -> Kernel:
    """Keep some messages of a node at a time in cache: find the one with the largest score, scale the sums so far to it, then
    exponentiate the messages. So each message is computed once.

    Messages are subtracted before they are multiplied by t: however large, the exponent of the peak itself is then 0.
    """
    dtype = dtypes.state
    LINE, ROOM = 64 // dtype(0).nbytes, MESSAGES * C

    @kernel(
        **message_arguments(K, dtypes),
        temperature=number,
        out=write(dtype, STATE),
        peaks=write(dtype, STATE),
        scales=write(dtype, STATE),
    )
    def softmax_forward(args):
        num_rows, stride, eps, indptr, src = args.num_rows, args.stride, dtype(args.eps), args.indptr, args.src
        x, features, out, peaks, scales = args.x, args.features, args.out, args.peaks, args.scales
        t, last, kept = splat(dtype(args.temperature * LOG2_E), C), indptr[num_rows] - 1, scratch(dtype, ROOM)
        sign = splat(dtype(-1 if args.temperature < 0 else 1), C)
        for _, begin, end in weighted_blocks(args, indptr, num_rows):
            for c in range(args.channel, args.channel + args.tiles * C, C):
                bias, zero, encoder = load(args.bias, c, C), splat(dtype(0), C), load_rows(args.weight, c, stride, C, K)
                for i in range(begin, end):
                    peak, top, mass, acc = zero, splat(dtype(-np.inf), C), zero, zero  # top is the peak times the sign of t
                    for first in range(indptr[i], indptr[i + 1], MESSAGES):
                        stop = min(first + MESSAGES, indptr[i + 1])
                        for e in range(first, stop):
                            prefetch_row(x, np.int64(src[min(e + AHEAD, last)]), stride, c, C, LINE)
                            m = message(encoded(x, np.int64(src[e]) * stride + c, features, e, encoder, bias, C, K), eps, C)
                            store(kept, (e - first) * C, m)
                            top = larger(mul(sign, m), top)  # NaN shows in the sums
                        before, peak = peak, mul(sign, top)
                        if first > indptr[i]:
                            fall = exp2_falling(mul(t, sub(before, peak)))
                            mass, acc = mul(mass, fall), mul(acc, fall)
                        for n in range(stop - first):
                            m = load(kept, n * C, C)
                            raised = exp2_falling(mul(t, sub(m, peak)))
                            mass = add(mass, raised)
                            acc = fma(raised, m, acc)
                    if indptr[i] == indptr[i + 1]:
                        mass = splat(dtype(1), C)
                    store(out, i * stride + c, div(acc, mass))
                    store(peaks, i * stride + c, peak)
                    store(scales, i * stride + c, div(splat(dtype(1), C), mass))

    return softmax_forward


@njit(inline="always")
def message_gradients(m, g, peak, out, t, t_log2_e):
    """Return the semi-gradient of a message, its gradient, and what it adds to that of the temperature.

    `g` is the gradient that reaches the node, times its scale.
    """
    semi = mul(g, exp2_falling(mul(t_log2_e, sub(m, peak))))
    off = sub(m, out)
    return semi, fma(semi, mul(t, off), semi), mul(mul(semi, m), off)


@functools.cache
def softmax_backward_by_destination(
    C: int, K: int, wants_weight: bool, wants_features: bool, dtypes: Dtypes, *, semi_gradient: bool
) -> Kernel:
    dtype = dtypes.state
    LINE, ROOM = 64 // dtype(0).nbytes, CHUNK * C

    @kernel(
        **by_destination_arguments(K, wants_weight, wants_features, dtypes),
        temperature=number,
        out=read(dtype, STATE),
        peaks=read(dtype, STATE),
        scales=read(dtype, STATE),
        slopes=write(np.float64, "blocks"),
    )
    def softmax_backward_by_destination(args):
        num_rows, stride, parts, padded, eps = args.num_rows, args.stride, args.parts, args.padded, dtype(args.eps)
        indptr, src, x, features = args.indptr, args.src, args.x, args.features
        grad, out, peaks, scales = args.grad, args.out, args.peaks, args.scales
        partial_x, partial_weight, grad_features = args.partial_x, args.partial_weight, args.grad_features
        t, t_log2_e = splat(dtype(args.temperature), C), splat(dtype(args.temperature * LOG2_E), C)
        last, kept = indptr[num_rows] - 1, scratch(dtype, ROOM)
        for block in blocks(args):
            part, tile, slope = block % parts, block // parts, 0.0
            begin, end = first_row(indptr, num_rows, part, parts), first_row(indptr, num_rows, part + 1, parts)
            for c in range(args.channel + tile * C, args.channel + args.tiles * C, args.step):
                start, sums = part * num_rows * padded + c, part * K * stride + c
                bias, zero, encoder = load(args.bias, c, C), splat(dtype(0), C), load_rows(args.weight, c, stride, C, K)
                outer, pending = repeat(zero, K), 0
                for i in range(begin, end):
                    g = mul(load(grad, i * stride + c, C), load(scales, i * stride + c, C))
                    peak, mean = load(peaks, i * stride + c, C), load(out, i * stride + c, C)
                    for first in range(indptr[i], indptr[i + 1], CHUNK):
                        stop, rise = min(first + CHUNK, indptr[i + 1]), zero
                        sum_of_all = zero
                        keep_messages(kept, x, src, first, stop, last, stride, c, features, encoder, bias, C, K, LINE)
                        for n in range(stop - first):
                            before = load(kept, n * C, C)
                            m = message(before, eps, C)
                            semi, gradient, added = message_gradients(m, g, peak, mean, t, t_log2_e)
                            if semi_gradient:
                                gradient = semi
                            else:
                                rise = add(rise, added)
                            gradient = select(greater(before, zero), gradient, zero)
                            sum_of_all = add(sum_of_all, gradient)
                            store(kept, n * C, gradient)
                        slope += total(widen(rise))
                        for e in range(first, stop):
                            prefetch_row(partial_x, np.int64(src[min(e + AHEAD, last)]), padded, start, C, LINE)
                            outer = scatter(
                                load(kept, (e - first) * C, C), e, partial_x, start + np.int64(src[e]) * padded, features, outer,
                                encoder, grad_features, wants_weight, wants_features, C, K,
                            )  # fmt: skip
                        add_rows(args.partial_bias, part * stride + c, stride, repeat(sum_of_all, 1))
                        if wants_weight:
                            outer, pending = flush(outer, pending + stop - first, partial_weight, sums, stride, zero, K)
                if wants_weight:
                    add_rows(partial_weight, sums, stride, outer)
            args.slopes[block] = slope

    return softmax_backward_by_destination


@functools.cache
def softmax_backward_by_source(C: int, dtypes: Dtypes, *, semi_gradient: bool) -> Kernel:
    """`grad` arrives as the gradient that reaches the node, times its scale."""
    dtype = dtypes.state
    LINE = 64 // dtype(0).nbytes

    @kernel(
        **by_source_arguments(dtypes),
        temperature=number,
        out=read(dtype, STATE),
        peaks=read(dtype, STATE),
        slopes=write(np.float64, "blocks"),
    )
    def softmax_backward_by_source(args):
        num_rows, stride, eps, indptr, dst = args.num_rows, args.stride, dtype(args.eps), args.indptr, args.dst
        x, grad, out, peaks, grad_x, last = args.x, args.grad, args.out, args.peaks, args.grad_x, indptr[num_rows] - 1
        t, t_log2_e = splat(dtype(args.temperature), C), splat(dtype(args.temperature * LOG2_E), C)
        for block, begin, end in weighted_blocks(args, indptr, num_rows):
            slope = 0.0
            for c in range(args.channel, args.channel + args.tiles * C, C):
                bias, zero = load(args.bias, c, C), splat(dtype(0), C)
                for j in range(begin, end):
                    before, acc = add(load(x, j * stride + c, C), bias), zero
                    m = message(before, eps, C)
                    for first in range(indptr[j], indptr[j + 1], CHUNK):
                        part, rise = zero, zero
                        for q in range(first, min(first + CHUNK, indptr[j + 1])):
                            at = np.int64(dst[q]) * stride + c
                            prefetch_row(grad, np.int64(dst[min(q + AHEAD, last)]), stride, c, C, LINE)
                            semi, gradient, added = message_gradients(
                                m, load(grad, at, C), load(peaks, at, C), load(out, at, C), t, t_log2_e
                            )  # fmt: skip
                            if semi_gradient:
                                gradient = semi
                            else:
                                rise = add(rise, added)
                            part = add(part, gradient)
                        acc = add(acc, part)
                        slope += total(widen(rise))
                    gradient = select(greater(before, zero), acc, zero)
                    store_row(gradient, j, c, block, stride, grad_x, args.partial_bias)
            args.slopes[block] = slope

    return softmax_backward_by_source


def forward(inputs: Inputs, spec: Spec) -> tuple[Tensor, Saved]:
    x = inputs.x
    assert x is not None
    peaks, scales = torch.empty_like(x), torch.empty_like(x)
    out = forward_pass(softmax_forward, inputs, spec, temperature=parameter_of(inputs, spec), peaks=peaks, scales=scales)
    return with_residual(inputs, spec, out), Saved(out=out, peaks=peaks, scales=scales)


def backward(grad: Tensor, inputs: Inputs, saved: Saved, spec: Spec) -> Inputs:
    out, _, peaks, scales, _ = saved
    assert scales is not None
    semi_gradient = isinstance(spec.how, Softmax) and spec.how.semi_gradient
    own = {"temperature": parameter_of(inputs, spec), "out": out, "peaks": peaks}
    if num_features(inputs):
        make = functools.partial(softmax_backward_by_destination, semi_gradient=semi_gradient)
        found = walk_by_destination(make, grad, inputs, spec, has_slopes=True, scales=scales, **own)
    else:
        make = functools.partial(softmax_backward_by_source, semi_gradient=semi_gradient)
        found = walk_by_source(make, grad * scales, inputs, spec, widest=32, has_slopes=True, **own)
    return gradients_of(grad, found, spec, add_in_order(0.0, found.slopes))
