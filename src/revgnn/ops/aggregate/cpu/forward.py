"""Forward kernels: they walk by destination, with the accumulators of a node in registers.

A record holds: rows, stride of the state, first channel, tiles; then addresses of indptr, src, x, edge features, weight, bias, eps,
out and what the backward pass wants, as `revgnn.ops.aggregate.cpu` writes them. `coded` is what edge features are stored as.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from revgnn.kernels.cpu import simd
from revgnn.kernels.cpu.launch import CHUNK, first_row, kernel, next_block
from revgnn.kernels.cpu.simd import (
    add,
    any_nan,
    div,
    exceeds,
    exp,
    exp2_falling,
    fma,
    fms,
    greater,
    larger,
    load,
    load_rows,
    log,
    log2,
    mul,
    narrow,
    pointer,
    power_of_2,
    relu,
    scratch,
    select,
    splat,
    store,
    sub,
    widen,
)
from revgnn.ops.aggregate.cpu.message import (
    AHEAD,
    MESSAGES,
    before_relu,
    clamped,
    decode,
    encoded,
    message,
    prefetch_row,
    without_bias,
)

LN_2 = math.log(2.0)
LOG2_E = 1.0 / LN_2

SMALL = 2.0**-64
"""What power multiplies messages by when it adds them up to find infinities: their sum does not make one."""


@functools.cache
def max_forward(C: int, K: int, save: bool, residual: bool, dtype: Any, coded: Any, index: Any, position: Any) -> Any:
    """The bias is the same for all messages, and ReLU keeps their order: both are left to the end. Where ReLU cuts the largest
    message to 0 there is no winner.

    A comparison is false where a message is NaN. Adding the messages up shows, at a quarter of the price of asking each, whether
    there was one (or opposite infinities); then the node is done again by comparisons that let NaN win.
    """
    revision, LINE, in_16_bits = simd.REVISION, 64 // dtype(0).nbytes, K > 0 and coded != dtype
    ROOM, FOUR = MESSAGES * K if in_16_bits else 1, 4 * K

    def rows(record):
        _ = revision
        num_rows, stride, channel, tiles = record[2], record[3], record[4], record[5]
        indptr, src, x = pointer(record[6], np.int64), pointer(record[7], index), pointer(record[8], dtype)
        stored, w, b = pointer(record[9], coded), pointer(record[10], dtype), pointer(record[11], dtype)
        eps, out, winner = pointer(record[12], dtype)[0], pointer(record[13], dtype), pointer(record[14], position)
        last, decoded = indptr[num_rows] - 1, scratch(dtype, ROOM)
        a = decoded if in_16_bits else pointer(record[9], dtype)
        while True:
            block = next_block(record)
            if block >= record[1]:
                return
            begin, end = first_row(indptr, num_rows, block, record[1]), first_row(indptr, num_rows, block + 1, record[1])
            for c in range(channel, channel + tiles * C, C):
                base, zero, nobody, lowest = load(b, c, C), splat(dtype(0), C), splat(position(-1), C), splat(dtype(-np.inf), C)
                for i in range(begin, end):
                    best, arg, sum_of_all = lowest, nobody, zero
                    for first in range(indptr[i], indptr[i + 1], MESSAGES):
                        stop, skipped = min(first + MESSAGES, indptr[i + 1]), 0
                        if in_16_bits:
                            skipped = first
                            decode(stored, first, stop, decoded, K, FOUR, dtype)
                        for e in range(first, stop):
                            prefetch_row(x, np.int64(src[min(e + AHEAD, last)]), stride, c, C, LINE)
                            m = without_bias(x, np.int64(src[e]), a, e - skipped, w, stride, c, C, K)
                            sum_of_all = add(sum_of_all, m)
                            wins = greater(m, best)
                            best = select(wins, m, best)
                            if save:
                                arg = select(wins, splat(position(e), C), arg)
                    if any_nan(sum_of_all):
                        best, arg = lowest, nobody
                        for e in range(indptr[i], indptr[i + 1]):
                            m = without_bias(x, np.int64(src[e]), stored, e, w, stride, c, C, K)
                            wins = exceeds(m, best)
                            best = select(wins, m, best)
                            if save:
                                arg = select(wins, splat(position(e), C), arg)
                    best = add(best, base)
                    alive = exceeds(best, zero)
                    if indptr[i] < indptr[i + 1]:
                        best, arg = add(select(alive, best, zero), splat(eps, C)), select(alive, arg, nobody)
                    else:
                        best = zero
                    if residual:
                        best = add(load(x, i * stride + c, C), best)
                    store(out, i * stride + c, best)
                    if save:
                        store(winner, i * stride + c, arg)

    return kernel(rows)


@functools.cache
def sum_forward(C: int, K: int, mean: bool, dtype: Any, coded: Any, index: Any) -> Any:
    revision, LINE = simd.REVISION, 64 // dtype(0).nbytes

    def rows(record):
        _ = revision
        num_rows, stride, channel, tiles = record[2], record[3], record[4], record[5]
        indptr, src, x = pointer(record[6], np.int64), pointer(record[7], index), pointer(record[8], dtype)
        a, w, b = pointer(record[9], coded), pointer(record[10], dtype), pointer(record[11], dtype)
        eps, out = pointer(record[12], dtype)[0], pointer(record[13], dtype)
        last = indptr[num_rows] - 1
        while True:
            block = next_block(record)
            if block >= record[1]:
                return
            begin, end = first_row(indptr, num_rows, block, record[1]), first_row(indptr, num_rows, block + 1, record[1])
            for c in range(channel, channel + tiles * C, C):
                base, zero = load(b, c, C), splat(dtype(0), C)
                for i in range(begin, end):
                    acc = zero
                    for first in range(indptr[i], indptr[i + 1], CHUNK):
                        part = zero
                        for e in range(first, min(first + CHUNK, indptr[i + 1])):
                            prefetch_row(x, np.int64(src[min(e + AHEAD, last)]), stride, c, C, LINE)
                            part = add(part, relu(before_relu(x, np.int64(src[e]), a, e, w, base, stride, c, C, K)))
                        acc = add(acc, part)
                    degree = dtype(indptr[i + 1] - indptr[i])
                    acc = fma(splat(degree, C), splat(eps, C), acc)
                    if mean and degree > 0:
                        acc = div(acc, splat(degree, C))
                    store(out, i * stride + c, acc)

    return kernel(rows)


@functools.cache
def softmax_forward(C: int, K: int, dtype: Any, coded: Any, index: Any) -> Any:
    """Scores are t m log2(e), so that weights are powers of 2; `peaks` are in the same unit.

    Some messages of a node at a time stay in cache: their largest score is found first, the sums so far are scaled to it, and
    then they are raised. So each message is computed once.
    """
    revision, LINE, ROOM = simd.REVISION, 64 // dtype(0).nbytes, MESSAGES * C

    def rows(record):
        _ = revision
        num_rows, stride, channel, tiles = record[2], record[3], record[4], record[5]
        indptr, src, x = pointer(record[6], np.int64), pointer(record[7], index), pointer(record[8], dtype)
        a, w, b = pointer(record[9], coded), pointer(record[10], dtype), pointer(record[11], dtype)
        eps, out = pointer(record[12], dtype)[0], pointer(record[13], dtype)
        peaks, scales = pointer(record[14], dtype), pointer(record[15], dtype)
        t = dtype(pointer(record[16], np.float64)[0] * LOG2_E)
        last, held = indptr[num_rows] - 1, scratch(dtype, ROOM)
        while True:
            block = next_block(record)
            if block >= record[1]:
                return
            begin, end = first_row(indptr, num_rows, block, record[1]), first_row(indptr, num_rows, block + 1, record[1])
            for c in range(channel, channel + tiles * C, C):
                base, zero, scale = load(b, c, C), splat(dtype(0), C), splat(t, C)
                encoder = load_rows(w, c, stride, C, K)
                for i in range(begin, end):
                    peak, mass, acc = splat(dtype(-np.inf), C), zero, zero
                    for first in range(indptr[i], indptr[i + 1], MESSAGES):
                        stop, top = min(first + MESSAGES, indptr[i + 1]), peak
                        for e in range(first, stop):
                            prefetch_row(x, np.int64(src[min(e + AHEAD, last)]), stride, c, C, LINE)
                            m = message(encoded(x, np.int64(src[e]) * stride + c, a, e, encoder, base, C, K), eps, C)
                            store(held, (e - first) * C, m)
                            top = larger(mul(scale, m), top)  # NaN shows in the sums
                        if first > indptr[i]:
                            fall = exp2_falling(sub(peak, top))
                            mass, acc = mul(mass, fall), mul(acc, fall)
                        peak = top
                        for n in range(stop - first):
                            m = load(held, n * C, C)
                            raised = exp2_falling(fms(scale, m, peak))
                            mass = add(mass, raised)
                            acc = fma(raised, m, acc)
                    if indptr[i] == indptr[i + 1]:
                        peak, mass = zero, splat(dtype(1), C)
                    store(out, i * stride + c, div(acc, mass))
                    store(peaks, i * stride + c, peak)
                    store(scales, i * stride + c, div(splat(dtype(1), C), mass))

    return kernel(rows)


@functools.cache
def power_forward(C: int, K: int, dtype: Any, coded: Any, index: Any) -> Any:
    r"""$(\sum_j m_j^p / n)^{1/p}$, from $q_j = m_j / 2^k$ with $2^k$ next to the largest message (for p < 0 the smallest).

    $q^p = 2^{p \log_2 q}$: of the largest powers, which make the sum, $\log_2 q$ is near 0 and has its digits behind the point,
    where $\log_2 m$ has some before it; and none overflows. As in softmax each power is taken relative to the largest.

    What is done once a node is in float64. `rest` receives what rounding took from `out`: the backward pass raises their sum to a
    power, which multiplies relative errors by p.
    """
    revision, LINE, ROOM = simd.REVISION, 64 // dtype(0).nbytes, MESSAGES * C

    def rows(record):
        _ = revision
        num_rows, stride, channel, tiles = record[2], record[3], record[4], record[5]
        indptr, src, x = pointer(record[6], np.int64), pointer(record[7], index), pointer(record[8], dtype)
        a, w, b = pointer(record[9], coded), pointer(record[10], dtype), pointer(record[11], dtype)
        eps, out, rest = pointer(record[12], dtype)[0], pointer(record[13], dtype), pointer(record[14], dtype)
        wide_p = pointer(record[16], np.float64)[0]
        p, sign = dtype(wide_p), dtype(1 if wide_p > 0 else -1)
        low, high = pointer(record[17], dtype)[0], pointer(record[17], dtype)[1]
        last, held = indptr[num_rows] - 1, scratch(dtype, ROOM)
        while True:
            block = next_block(record)
            if block >= record[1]:
                return
            begin, end = first_row(indptr, num_rows, block, record[1]), first_row(indptr, num_rows, block + 1, record[1])
            for c in range(channel, channel + tiles * C, C):
                base, zero = load(b, c, C), splat(dtype(0), C)
                lowest, highest, exponent = splat(low, C), splat(high, C), splat(p, C)
                encoder = load_rows(w, c, stride, C, K)
                for i in range(begin, end):
                    top, mass, seen = splat(dtype(-np.inf), C), zero, zero
                    scale, peak = zero, zero
                    for first in range(indptr[i], indptr[i + 1], MESSAGES):
                        stop, before = min(first + MESSAGES, indptr[i + 1]), top
                        for e in range(first, stop):
                            prefetch_row(x, np.int64(src[min(e + AHEAD, last)]), stride, c, C, LINE)
                            m = message(encoded(x, np.int64(src[e]) * stride + c, a, e, encoder, base, C, K), eps, C)
                            m = clamped(m, lowest, highest)
                            store(held, (e - first) * C, m)
                            top = larger(mul(splat(sign, C), m), top)
                            seen = fma(m, splat(dtype(SMALL), C), seen)
                        scale = div(splat(dtype(1), C), power_of_2(mul(splat(sign, C), top)))
                        peak = mul(exponent, log2(mul(mul(splat(sign, C), top), scale)))
                        if first > indptr[i]:
                            fall = log2(mul(mul(splat(sign, C), before), scale))
                            mass = mul(mass, exp2_falling(fms(exponent, fall, peak)))
                        for n in range(stop - first):
                            q = mul(load(held, n * C, C), scale)
                            mass = add(mass, exp2_falling(fms(exponent, log2(q), peak)))
                    if indptr[i] < indptr[i + 1]:
                        mean = div(widen(mass), splat(np.float64(indptr[i + 1] - indptr[i]), C))
                        mean = fma(widen(peak), splat(LN_2, C), log(mean))
                        root = div(exp(mul(splat(1.0 / wide_p, C), mean)), widen(scale))
                        # inf and NaN, which the logarithm does not know, show in the sum; for p < 0 infinity is the least of powers
                        worst = seen if p > 0 else select(exceeds(seen, seen), seen, mul(splat(sign, C), top))
                        root = select(greater(splat(np.inf, C), widen(worst)), root, widen(worst))
                    else:
                        root = widen(zero)
                    rounded = narrow(root, dtype)
                    store(out, i * stride + c, rounded)
                    store(rest, i * stride + c, narrow(sub(root, widen(rounded)), dtype))

    return kernel(rows)
