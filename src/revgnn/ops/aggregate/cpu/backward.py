"""Backward kernels.

That of max touches only the N x C winners. The others recompute the message: by destination where there are edge features, by
source where there are none. What all edges share (`weight`, temperature) is summed in a fixed order from one partial sum a block.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numba import njit

from revgnn.kernels.cpu import simd
from revgnn.kernels.cpu.launch import CHUNK, first_row, kernel, next_block
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
    pointer,
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

LIMIT = 128.0
"""Powers of 2 from here on are infinite in float32, and none that a gradient takes gets here in float64."""

# --- backward: max ---------------------------------------------------------------------------------------------------------------


@functools.cache
def max_backward_edges(K: int, edges: bool, dtype: Any, coded: Any, position: Any) -> Any:
    """Gradients of the weight and the bias (a partial sum a block, float64: C x K, C) and of the edge features, from the winners.

    A winner's features lie anywhere among those of the node's edges: they are asked for two nodes early.
    """
    revision, EARLY = simd.REVISION, 2

    def rows(record):
        _ = revision
        num_rows, channels = record[2], record[3]
        winner, grad, a, wt = (
            pointer(record[4], position),
            pointer(record[5], dtype),
            pointer(record[6], coded),
            pointer(record[7], dtype),
        )
        partial, partial_b, grad_a = pointer(record[8], np.float64), pointer(record[9], np.float64), pointer(record[10], dtype)
        while True:
            block = next_block(record)
            if block >= record[1]:
                return
            mine, end = block * channels, num_rows * (block + 1) // record[1]
            for i in range(num_rows * block // record[1], end):
                soon = min(i + EARLY, end - 1)
                for c in range(channels):
                    prefetch(a, max(np.int64(winner[soon * channels + c]), 0) * K)
                    e = np.int64(winner[i * channels + c])
                    if e >= 0:
                        partial_b[mine + c] += grad[i * channels + c]
                        g = splat(grad[i * channels + c], K)
                        features = widen(load_converted(a, e * K, K, dtype))
                        sums = (mine + c) * K
                        store(partial, sums, fma(widen(g), features, load(partial, sums, K)))
                        if edges:
                            store(grad_a, e * K, fma(g, load(wt, c * K, K), load(grad_a, e * K, K)))

    return kernel(rows)


@functools.cache
def max_backward_x(residual: bool, dtype: Any, index: Any, position: Any) -> Any:
    """Scatter to the sources. A block owns a few channels of all rows, so an element has one writer and one order of summation."""
    revision, EARLY = simd.REVISION, 8

    def columns(record):
        _ = revision
        num_rows, channels, width = record[2], record[3], record[4]
        winner, grad, src, grad_x = (
            pointer(record[5], position),
            pointer(record[6], dtype),
            pointer(record[7], index),
            pointer(record[8], dtype),
        )
        while True:
            block = next_block(record)
            if block >= record[1]:
                return
            first, stop = block * width, min(block * width + width, channels)
            for i in range(num_rows):
                for c in range(first, stop):
                    grad_x[i * channels + c] = grad[i * channels + c] if residual else dtype(0)
            for i in range(num_rows):
                soon = min(i + EARLY, num_rows - 1)
                for c in range(first, stop):
                    prefetch(src, max(np.int64(winner[soon * channels + c]), 0))
                    e = winner[i * channels + c]
                    if e >= 0:
                        grad_x[np.int64(src[e]) * channels + c] += grad[i * channels + c]

    return kernel(columns)


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
def backward_by_destination(C: int, K: int, kind: str, weights: bool, edges: bool, dtype: Any, coded: Any, index: Any) -> Any:
    """With edge features, which come in order so, and what all messages of a node share stays in registers. With g the gradient
    that reaches the node, over its degree for mean and power:

    - sum, mean: dm = g;
    - softmax, weights s: dm = g s (1 + t (m - out)), dt = sum of g s m (m - out); the semi-gradient is g s;
    - power: dm = g (m / out)^(p - 1), dp = log(2) / p times the sum of dm m log2(m / out).

    The gradient of x is scattered: a block has a part of the destinations and a tile of channels, and `partial_x` a slice for each
    part, so that an element has one writer. Those of edge features want all tiles in one block. Where the gradient takes more than
    g, messages stay in cache a few at a time, to be worked on in three short loops: one whole would outgrow the registers.
    """
    revision, ROOM = simd.REVISION, CHUNK * C
    LINE = 64 // dtype(0).nbytes
    mean, softmax, semigrad, power = kind == "mean", kind.startswith("softmax"), kind == "softmax-semigrad", kind == "power"
    linear = not softmax and not power

    def rows(record):
        _ = revision
        num_rows, stride, channel, tiles, parts, step = record[2], record[3], record[4], record[5], record[6], record[7]
        indptr, src, x = pointer(record[8], np.int64), pointer(record[9], index), pointer(record[10], dtype)
        a, w, b = pointer(record[11], coded), pointer(record[12], dtype), pointer(record[13], dtype)
        eps, wide_p = pointer(record[14], dtype)[0], pointer(record[15], np.float64)[0]
        low, high = pointer(record[16], dtype)[0], pointer(record[16], dtype)[1]
        grad, out = pointer(record[17], dtype), pointer(record[18], dtype)
        saved, scales = pointer(record[19], dtype), pointer(record[20], dtype)
        partial_x, padded = pointer(record[21], dtype), record[22]
        partial_w, partial_t, grad_a = pointer(record[23], np.float64), pointer(record[24], np.float64), pointer(record[25], dtype)
        last, held = indptr[num_rows] - 1, scratch(dtype, ROOM)
        while True:
            block = next_block(record)
            if block >= record[1]:
                return
            part, first_tile = block % parts, block // parts
            begin, end = first_row(indptr, num_rows, part, parts), first_row(indptr, num_rows, part + 1, parts)
            dt = 0.0
            for c in range(channel + first_tile * C, channel + tiles * C, step):
                mine = part * num_rows * padded + c
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
                                store(held, (e - first) * C, encoded(x, np.int64(src[e]) * stride + c, a, e, encoder, base, C, K))
                            slope = zero
                            for n in range(stop - first):
                                before = load(held, n * C, C)
                                m = message(before, eps, C)
                                if softmax:
                                    s, rise, gm = _softmax_gradient(m, g, peak, mid, scale, t)
                                    if semigrad:
                                        gm = s
                                    else:
                                        slope = add(slope, rise)
                                if power:
                                    inside = clamped(m, lowest, highest)
                                    gm, rise = _power_gradient(inside, g, inverse, less_one, most)
                                    slope = add(slope, rise)
                                    gm = select(greater(lowest, m), zero, select(greater(m, highest), zero, gm))
                                store(held, n * C, select(greater(before, zero), gm, zero))
                            dt += total(widen(slope))
                        for e in range(first, stop):
                            j, soon = np.int64(src[e]), np.int64(src[min(e + AHEAD, last)])
                            prefetch_row(partial_x, soon, padded, mine, C, LINE)
                            if linear:
                                prefetch_row(x, soon, stride, c, C, LINE)
                                before = encoded(x, j * stride + c, a, e, encoder, base, C, K)
                                gm = select(greater(before, zero), g, zero)
                            else:
                                gm = load(held, (e - first) * C, C)
                            if weights:
                                outer = add_outer(outer, a, e * K, gm)
                            if edges:
                                for k in range(K):
                                    grad_a[e * K + k] += total(mul(gm, encoder[k]))
                            at = mine + j * padded
                            store(partial_x, at, add(load(partial_x, at, C), gm))
                        if weights:
                            pending += stop - first
                            if pending >= CHUNK:
                                add_rows(partial_w, part * K * stride + c, stride, outer)
                                outer, pending = repeat(zero, K), 0
                if weights:
                    add_rows(partial_w, part * K * stride + c, stride, outer)
            partial_t[block] = dt

    return kernel(rows)


@functools.cache
def backward_by_source(C: int, kind: str, dtype: Any, index: Any) -> Any:
    """Without edge features a message depends on its source alone, and each row of the gradient has one writer. `grad` arrives as

    - sum, mean: what reaches the node;
    - softmax: that over the sum of the powers, `peaks` as the forward pass left them;
    - power: that times out^(1 - p) / degree, in float64 (of out = 1e-7, p = 7 float32 would overflow). What edges add up is
    then the same for all messages of a source, dm = m^(p - 1) sum of grad, dp = sum of dm m log(m) (the rest of dp is per node).
    """
    revision = simd.REVISION
    mean, softmax, semigrad, power = kind == "mean", kind.startswith("softmax"), kind == "softmax-semigrad", kind == "power"
    wide = np.float64 if power else dtype
    LINE = 64 // wide(0).nbytes

    def sources(record):
        _ = revision
        num_rows, stride, channel, tiles = record[2], record[3], record[4], record[5]
        indptr, dst = pointer(record[6], np.int64), pointer(record[7], index)
        x, b, eps = pointer(record[8], dtype), pointer(record[9], dtype), pointer(record[10], dtype)[0]
        param = pointer(record[11], np.float64)[0]
        low, high = pointer(record[12], dtype)[0], pointer(record[12], dtype)[1]
        grad, out, peaks = pointer(record[13], wide), pointer(record[14], dtype), pointer(record[15], dtype)
        grad_x, partial_t = pointer(record[16], dtype), pointer(record[17], np.float64)
        degrees = pointer(record[18], np.int64)
        last = indptr[num_rows] - 1
        while True:
            block = next_block(record)
            if block >= record[1]:
                return
            begin, end = first_row(indptr, num_rows, block, record[1]), first_row(indptr, num_rows, block + 1, record[1])
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
                            i, soon = np.int64(dst[q]), np.int64(dst[min(q + AHEAD, last)])
                            at = i * stride + c
                            prefetch_row(grad, soon, stride, c, C, LINE)
                            g = load(grad, at, C)
                            if mean:
                                g = div(g, splat(dtype(degrees[i + 1] - degrees[i]), C))
                            if softmax:
                                s, rise, g = _softmax_gradient(m, g, load(peaks, at, C), load(out, at, C), scale, t)
                                if semigrad:
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

    return kernel(sources)
