"""Backward kernels.

That of max touches only the N x C winners. The others recompute the message: by destination where there are edge features, by
source where there are none. What all edges share (`weight`, temperature) is summed in a fixed order from one partial sum a block.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numba import njit

from revgnn.kernels.cpu.blocks import CHUNK, blocks, even_blocks, first_row, weighted_blocks
from revgnn.kernels.cpu.kernel import Kernel, kernel, number, read, size, write
from revgnn.kernels.cpu.simd import (
    add,
    add_outer,
    add_rows,
    div,
    exp,
    exp2_falling,
    fma,
    fms,
    greater,
    load,
    load_converted,
    load_rows,
    log,
    log2,
    mul,
    narrow,
    prefetch,
    repeat,
    scratch,
    select,
    splat,
    store,
    sub,
    total,
    widen,
)
from revgnn.ops.aggregate.cpu.forward import LOG2_E
from revgnn.ops.aggregate.cpu.message import AHEAD, clamped, encoded, message, prefetch_row
from revgnn.ops.aggregate.reducers import Form

LIMIT = 128.0
"""Exponent from which on powers of 2 are infinite in float32. In float64 no exponent of a gradient is as large."""

# --- backward: max ---------------------------------------------------------------------------------------------------------------


@functools.cache
def max_backward_edges(K: int, edges: bool, dtype: Any, stored: Any, position: Any) -> Kernel:
    """Gradients of the weight and the bias (a partial sum a block, float64: C x K, C) and of the edge features, from the winners.

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
        partial=write(np.float64, f"blocks * channels * {K}"),
        partial_bias=write(np.float64, "blocks * channels"),
        grad_features=write(dtype, optional=not edges),
    )
    def max_backward_edges(args):
        num_rows, channels, winner, grad, a, wt = args.num_rows, args.channels, args.winner, args.grad, args.features, args.weight_t
        partial, partial_b, grad_a = args.partial, args.partial_bias, args.grad_features
        for block, begin, end in even_blocks(args, num_rows):
            own = block * channels
            for i in range(begin, end):
                ahead = min(i + EARLY, end - 1)
                for c in range(channels):
                    prefetch(a, max(np.int64(winner[ahead * channels + c]), 0) * K)
                    e = np.int64(winner[i * channels + c])
                    if e >= 0:
                        partial_b[own + c] += grad[i * channels + c]
                        g = splat(grad[i * channels + c], K)
                        features = widen(load_converted(a, e * K, K, dtype))
                        sums = (own + c) * K
                        store(partial, sums, fma(widen(g), features, load(partial, sums, K)))
                        if edges:
                            store(grad_a, e * K, fma(g, load(wt, c * K, K), load(grad_a, e * K, K)))

    return max_backward_edges


@functools.cache
def max_backward_x(residual: bool, dtype: Any, index: Any, position: Any) -> Kernel:
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
    )
    def max_backward_x(args):
        num_rows, channels, width = args.num_rows, args.channels, args.width
        winner, grad, src, grad_x = args.winner, args.grad, args.src, args.grad_x
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

    return max_backward_x


# --- backward: everything but max ------------------------------------------------------------------------------------------------


@njit(inline="always")
def _softmax_gradient(m, g, peak, mid, scale, t):
    """With s = g softmax: s, the semi-gradient of a message; what it adds to that of the temperature, s m (m - out); and its
    gradient, s (1 + t (m - out))."""
    s = mul(g, exp2_falling(fms(scale, m, peak)))
    off = sub(m, mid)
    return s, mul(mul(s, m), off), fma(s, mul(t, off), s)


@njit(inline="always")
def _power_gradient(m, g, inverse, less_one, most):
    """Of a message, and what it adds to that of the exponent: `g (m / out)^(p - 1)` and that times `m log2(m / out)`."""
    ratio = log2(mul(m, inverse))
    exponent = mul(less_one, ratio)
    s = mul(g, exp2_falling(select(greater(exponent, most), most, exponent)))
    return s, mul(mul(s, m), ratio)


@functools.cache
def backward_by_destination(C: int, K: int, form: Form, weights: bool, edges: bool, dtype: Any, stored: Any, index: Any) -> Kernel:
    """With edge features, which come in order so, and what all messages of a node share stays in registers. With g the gradient
    that reaches the node, over its degree for mean and power:

    - sum, mean: dm = g;
    - softmax, weights s: dm = g s (1 + t (m - out)), dt = sum of g s m (m - out); the semi-gradient is g s;
    - power: dm = g (m / out)^(p - 1), dp = log(2) / p times the sum of dm m log2(m / out).

    The gradient of x is scattered: a block has a part of the destinations and a tile of channels, and `partial_x` a slice for each
    part, so that an element has one writer. Those of edge features want all tiles in one block. Where the gradient takes more than
    g, messages stay in cache a few at a time, to be worked on in three short loops: one whole would outgrow the registers.
    """
    ROOM, LINE = CHUNK * C, 64 // dtype(0).nbytes
    mean, softmax, semi_gradient, power = form
    linear = not softmax and not power

    @kernel(
        num_rows=size,
        num_edges=size,
        stride=size,
        channel=size,
        tiles=size,
        parts=size,
        step=size,
        padded=size,
        eps=number,
        parameter=number,
        low=number,
        high=number,
        indptr=read(np.int64, "num_rows + 1"),
        src=read(index, "num_edges"),
        x=read(dtype, "num_rows * stride"),
        features=read(stored, f"num_edges * {K}"),
        weight=read(dtype, f"{K} * stride"),
        bias=read(dtype, "stride"),
        grad=read(dtype, "num_rows * stride"),
        out=read(dtype, "num_rows * stride", optional=linear),
        peaks_or_remainder=read(dtype, "num_rows * stride", optional=linear),
        scales=read(dtype, "num_rows * stride", optional=not softmax),
        partial_x=write(dtype, "parts * num_rows * padded"),
        partial_w=write(np.float64, f"parts * {K} * stride", optional=not weights),
        partial_parameter=write(np.float64, "blocks"),
        grad_features=write(dtype, f"num_edges * {K}", optional=not edges),
    )
    def backward_by_destination(args):
        num_rows, stride, channel, tiles, parts, step = args.num_rows, args.stride, args.channel, args.tiles, args.parts, args.step
        indptr, src, x, a, w, b = args.indptr, args.src, args.x, args.features, args.weight, args.bias
        eps, wide_p, low, high = dtype(args.eps), args.parameter, dtype(args.low), dtype(args.high)
        grad, out, saved, scales = args.grad, args.out, args.peaks_or_remainder, args.scales
        partial_x, padded, partial_w, partial_t, grad_a = (
            args.partial_x, args.padded, args.partial_w, args.partial_parameter, args.grad_features
        )  # fmt: skip
        last, messages = indptr[num_rows] - 1, scratch(dtype, ROOM)
        for block in blocks(args):
            part, first_tile = block % parts, block // parts
            begin, end = first_row(indptr, num_rows, part, parts), first_row(indptr, num_rows, part + 1, parts)
            dt = 0.0
            for c in range(channel + first_tile * C, channel + tiles * C, step):
                own = part * num_rows * padded + c
                base, zero = load(b, c, C), splat(dtype(0), C)
                lowest, highest = splat(low, C), splat(high, C)
                t, scale = splat(dtype(wide_p), C), splat(dtype(wide_p * LOG2_E), C)
                less_one, most = splat(dtype(wide_p - 1.0), C), splat(dtype(LIMIT), C)
                encoder = load_rows(w, c, stride, C, K)
                if weights:
                    outer = repeat(zero, K)
                pending = 0
                for i in range(begin, end):
                    if indptr[i] < indptr[i + 1]:
                        g = load(grad, i * stride + c, C)
                        if mean or power:
                            g = div(g, splat(dtype(indptr[i + 1] - indptr[i]), C))
                        if softmax:
                            g = mul(g, load(scales, i * stride + c, C))
                            peak, mid = load(saved, i * stride + c, C), load(out, i * stride + c, C)
                        if power:
                            root = add(widen(load(out, i * stride + c, C)), widen(load(saved, i * stride + c, C)))
                            inverse = narrow(div(splat(1.0, C), root), dtype)
                    for first in range(indptr[i], indptr[i + 1], CHUNK):
                        stop = min(first + CHUNK, indptr[i + 1])
                        if not linear:
                            for e in range(first, stop):
                                prefetch_row(x, np.int64(src[min(e + AHEAD, last)]), stride, c, C, LINE)
                                store(
                                    messages, (e - first) * C, encoded(x, np.int64(src[e]) * stride + c, a, e, encoder, base, C, K)
                                )
                            slope = zero
                            for n in range(stop - first):
                                before = load(messages, n * C, C)
                                m = message(before, eps, C)
                                if softmax:
                                    s, rise, gm = _softmax_gradient(m, g, peak, mid, scale, t)
                                    if semi_gradient:
                                        gm = s
                                    else:
                                        slope = add(slope, rise)
                                if power:
                                    inside = clamped(m, lowest, highest)
                                    gm, rise = _power_gradient(inside, g, inverse, less_one, most)
                                    slope = add(slope, rise)
                                    gm = select(greater(lowest, m), zero, select(greater(m, highest), zero, gm))
                                store(messages, n * C, select(greater(before, zero), gm, zero))
                            dt += total(widen(slope))
                        for e in range(first, stop):
                            j, ahead = np.int64(src[e]), np.int64(src[min(e + AHEAD, last)])
                            prefetch_row(partial_x, ahead, padded, own, C, LINE)
                            if linear:
                                prefetch_row(x, ahead, stride, c, C, LINE)
                                before = encoded(x, j * stride + c, a, e, encoder, base, C, K)
                                gm = select(greater(before, zero), g, zero)
                            else:
                                gm = load(messages, (e - first) * C, C)
                            if weights:
                                outer = add_outer(outer, a, e * K, gm)
                            if edges:
                                for k in range(K):
                                    grad_a[e * K + k] += total(mul(gm, encoder[k]))
                            at = own + j * padded
                            store(partial_x, at, add(load(partial_x, at, C), gm))
                        if weights:
                            pending += stop - first
                            if pending >= CHUNK:
                                add_rows(partial_w, part * K * stride + c, stride, outer)
                                outer, pending = repeat(zero, K), 0
                if weights:
                    add_rows(partial_w, part * K * stride + c, stride, outer)
            partial_t[block] = dt

    return backward_by_destination


@functools.cache
def backward_by_source(C: int, form: Form, dtype: Any, index: Any) -> Kernel:
    """Without edge features a message depends on its source alone, and each row of the gradient has one writer. `grad` arrives as

    - sum, mean: what reaches the node;
    - softmax: that over the sum of the powers, `peaks` as the forward pass left them;
    - power: that times out^(1 - p) / degree, in float64 (of out = 1e-7, p = 7 float32 would overflow). What edges add up is
    then the same for all messages of a source, dm = m^(p - 1) sum of grad, dp = sum of dm m log(m) (the rest of dp is per node).
    """
    mean, softmax, semi_gradient, power = form
    wide = np.float64 if power else dtype
    LINE = 64 // wide(0).nbytes

    @kernel(
        num_rows=size,
        num_edges=size,
        stride=size,
        channel=size,
        tiles=size,
        eps=number,
        parameter=number,
        low=number,
        high=number,
        indptr=read(np.int64, "num_rows + 1"),
        dst=read(index, "num_edges"),
        x=read(dtype, "num_rows * stride"),
        bias=read(dtype, "stride"),
        grad=read(wide, "num_rows * stride"),
        out=read(dtype, "num_rows * stride", optional=not softmax),
        peaks=read(dtype, "num_rows * stride", optional=not softmax),
        destination_indptr=read(np.int64, "num_rows + 1"),
        grad_x=write(dtype, "num_rows * stride"),
        partial_parameter=write(np.float64, "blocks"),
    )
    def backward_by_source(args):
        num_rows, stride, channel, tiles = args.num_rows, args.stride, args.channel, args.tiles
        indptr, dst, x, b, eps, param = args.indptr, args.dst, args.x, args.bias, dtype(args.eps), args.parameter
        low, high, grad, out, peaks = dtype(args.low), dtype(args.high), args.grad, args.out, args.peaks
        grad_x, partial_t, degrees = args.grad_x, args.partial_parameter, args.destination_indptr
        last = indptr[num_rows] - 1
        for block, begin, end in weighted_blocks(args, indptr, num_rows):
            dt = 0.0
            for c in range(channel, channel + tiles * C, C):
                base, zero = load(b, c, C), splat(dtype(0), C)
                lowest, highest = splat(low, C), splat(high, C)
                t, scale = splat(dtype(param), C), splat(dtype(param * LOG2_E), C)
                for j in range(begin, end):
                    before = add(load(x, j * stride + c, C), base)
                    m = message(before, eps, C)
                    acc = splat(wide(0), C)
                    for first in range(indptr[j], indptr[j + 1], CHUNK):
                        part, slope = splat(wide(0), C), zero
                        for q in range(first, min(first + CHUNK, indptr[j + 1])):
                            i, ahead = np.int64(dst[q]), np.int64(dst[min(q + AHEAD, last)])
                            at = i * stride + c
                            prefetch_row(grad, ahead, stride, c, C, LINE)
                            g = load(grad, at, C)
                            if mean:
                                g = div(g, splat(dtype(degrees[i + 1] - degrees[i]), C))
                            if softmax:
                                s, rise, g = _softmax_gradient(m, g, load(peaks, at, C), load(out, at, C), scale, t)
                                if semi_gradient:
                                    g = s
                                else:
                                    slope = add(slope, rise)
                            part = add(part, g)
                        acc = add(acc, part)
                        if softmax:
                            dt += total(widen(slope))
                    if power:
                        inside = widen(clamped(m, lowest, highest))
                        ln = log(inside)
                        acc = mul(acc, exp(mul(splat(param - 1.0, C), ln)))
                        dt += total(mul(mul(acc, inside), ln))
                        acc = select(greater(lowest, m), splat(0.0, C), select(greater(m, highest), splat(0.0, C), acc))
                    store(grad_x, j * stride + c, select(greater(before, zero), narrow(acc, dtype), zero))
            partial_t[block] = dt

    return backward_by_source
