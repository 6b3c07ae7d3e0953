"""Forward kernels: they walk by destination, with the accumulators of a node in registers.

A launch computes `tiles` tiles of C channels from `channel` on; rows of the state are `stride` channels wide. `stored` is the dtype
in which edge features are stored.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from revgnn.kernels.cpu.arguments import Declared
from revgnn.kernels.cpu.blocks import CHUNK, weighted_blocks
from revgnn.kernels.cpu.kernel import Kernel, kernel, number, read, size, write
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
"""Factor of the messages that power adds up to find infinities: so small that a sum of finite messages stays finite."""


def common_arguments(K: int, dtype: Any, stored: Any, index: Any) -> dict[str, Declared]:
    """Return the arguments that all forward kernels declare."""
    return {
        "num_rows": size,
        "num_edges": size,
        "stride": size,
        "channel": size,
        "tiles": size,
        "eps": number,
        "indptr": read(np.int64, "num_rows + 1"),
        "src": read(index, "num_edges"),
        "x": read(dtype, "num_rows * stride"),
        "features": read(stored, f"num_edges * {K}", optional=K == 0),
        "weight": read(dtype, f"{K} * stride", optional=K == 0),
        "bias": read(dtype, "stride"),
        "out": write(dtype, "num_rows * stride"),
    }


@functools.cache
def max_forward(C: int, K: int, save: bool, residual: bool, dtype: Any, stored: Any, index: Any, position: Any) -> Kernel:
    """The bias is the same for all messages, and ReLU keeps their order: both are applied after the loop. If ReLU sets the largest
    message to 0, there is no winner.

    A comparison with NaN is false. The sum of the messages shows whether there was a NaN (or opposite infinities), at a quarter of
    the cost of testing each; then the node is computed again by comparisons that let NaN win.
    """
    LINE, in_16_bits = 64 // dtype(0).nbytes, K > 0 and stored != dtype
    ROOM, FOUR = MESSAGES * K if in_16_bits else 1, 4 * K

    @kernel(
        **common_arguments(K, dtype, stored, index),
        winner=write(position, "num_rows * stride", optional=not save),
    )
    def max_forward(args):
        num_rows, stride, channel, tiles, eps = args.num_rows, args.stride, args.channel, args.tiles, dtype(args.eps)
        indptr, src, x, w, b, out = args.indptr, args.src, args.x, args.weight, args.bias, args.out
        features, winner, last = args.features, args.winner, indptr[num_rows] - 1
        if in_16_bits:
            a = scratch(dtype, ROOM)
        else:
            a = features
        for _, begin, end in weighted_blocks(args, indptr, num_rows):
            for c in range(channel, channel + tiles * C, C):
                base, zero, none_yet, lowest = load(b, c, C), splat(dtype(0), C), splat(position(-1), C), splat(dtype(-np.inf), C)
                for i in range(begin, end):
                    best, arg, sum_of_all = lowest, none_yet, zero
                    for first in range(indptr[i], indptr[i + 1], MESSAGES):
                        stop, skipped = min(first + MESSAGES, indptr[i + 1]), 0
                        if in_16_bits:
                            skipped = first
                            decode(features, first, stop, a, K, FOUR, dtype)
                        for e in range(first, stop):
                            prefetch_row(x, np.int64(src[min(e + AHEAD, last)]), stride, c, C, LINE)
                            m = without_bias(x, np.int64(src[e]), a, e - skipped, w, stride, c, C, K)
                            sum_of_all = add(sum_of_all, m)
                            wins = greater(m, best)
                            best = select(wins, m, best)
                            if save:
                                arg = select(wins, splat(position(e), C), arg)
                    if any_nan(sum_of_all):
                        best, arg = lowest, none_yet
                        for e in range(indptr[i], indptr[i + 1]):
                            m = without_bias(x, np.int64(src[e]), features, e, w, stride, c, C, K)
                            wins = exceeds(m, best)
                            best = select(wins, m, best)
                            if save:
                                arg = select(wins, splat(position(e), C), arg)
                    best = add(best, base)
                    alive = exceeds(best, zero)
                    if indptr[i] < indptr[i + 1]:
                        best, arg = add(select(alive, best, zero), splat(eps, C)), select(alive, arg, none_yet)
                    else:
                        best = zero
                    if residual:
                        best = add(load(x, i * stride + c, C), best)
                    store(out, i * stride + c, best)
                    if save:
                        store(winner, i * stride + c, arg)

    return max_forward


@functools.cache
def sum_forward(C: int, K: int, mean: bool, dtype: Any, stored: Any, index: Any) -> Kernel:
    LINE = 64 // dtype(0).nbytes

    @kernel(
        **common_arguments(K, dtype, stored, index),
    )
    def sum_forward(args):
        num_rows, stride, channel, tiles, eps = args.num_rows, args.stride, args.channel, args.tiles, dtype(args.eps)
        indptr, src, x, w, b, out = args.indptr, args.src, args.x, args.weight, args.bias, args.out
        a, last = args.features, indptr[num_rows] - 1
        for _, begin, end in weighted_blocks(args, indptr, num_rows):
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

    return sum_forward


@functools.cache
def softmax_forward(C: int, K: int, dtype: Any, stored: Any, index: Any) -> Kernel:
    """Scores are t m log2(e), so that weights are powers of 2; `peaks` are in the same unit.

    Some messages of a node at a time are kept in cache: their largest score is found first, the sums so far are scaled to it, and
    then the messages are exponentiated. So each message is computed once.
    """
    LINE, ROOM = 64 // dtype(0).nbytes, MESSAGES * C

    @kernel(
        **common_arguments(K, dtype, stored, index),
        temperature=number,
        peaks=write(dtype, "num_rows * stride"),
        scales=write(dtype, "num_rows * stride"),
    )
    def softmax_forward(args):
        num_rows, stride, channel, tiles, eps = args.num_rows, args.stride, args.channel, args.tiles, dtype(args.eps)
        indptr, src, x, w, b, out = args.indptr, args.src, args.x, args.weight, args.bias, args.out
        a, peaks, scales, t = args.features, args.peaks, args.scales, dtype(args.temperature * LOG2_E)
        last, messages = indptr[num_rows] - 1, scratch(dtype, ROOM)
        for _, begin, end in weighted_blocks(args, indptr, num_rows):
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
                            store(messages, (e - first) * C, m)
                            top = larger(mul(scale, m), top)  # NaN shows in the sums
                        if first > indptr[i]:
                            fall = exp2_falling(sub(peak, top))
                            mass, acc = mul(mass, fall), mul(acc, fall)
                        peak = top
                        for n in range(stop - first):
                            m = load(messages, n * C, C)
                            raised = exp2_falling(fms(scale, m, peak))
                            mass = add(mass, raised)
                            acc = fma(raised, m, acc)
                    if indptr[i] == indptr[i + 1]:
                        peak, mass = zero, splat(dtype(1), C)
                    store(out, i * stride + c, div(acc, mass))
                    store(peaks, i * stride + c, peak)
                    store(scales, i * stride + c, div(splat(dtype(1), C), mass))

    return softmax_forward


@functools.cache
def power_forward(C: int, K: int, dtype: Any, stored: Any, index: Any) -> Kernel:
    r"""$(\sum_j m_j^p / n)^{1/p}$, from $q_j = m_j / 2^k$ with $2^k$ next to the largest message (for p < 0 the smallest).

    $q^p = 2^{p \log_2 q}$: of the largest powers, which make the sum, $\log_2 q$ is near 0 and has its digits behind the point,
    where $\log_2 m$ has some before it; and none overflows. As in softmax each power is taken relative to the largest.

    What is done once a node is in float64. `rest` receives what rounding took from `out`: the backward pass raises their sum to a
    power, which multiplies relative errors by p.
    """
    LINE, ROOM = 64 // dtype(0).nbytes, MESSAGES * C

    @kernel(
        **common_arguments(K, dtype, stored, index),
        exponent=number,
        low=number,
        high=number,
        remainder=write(dtype, "num_rows * stride"),
    )
    def power_forward(args):
        num_rows, stride, channel, tiles, eps = args.num_rows, args.stride, args.channel, args.tiles, dtype(args.eps)
        indptr, src, x, w, b, out = args.indptr, args.src, args.x, args.weight, args.bias, args.out
        a, rest, wide_p, low, high = args.features, args.remainder, args.exponent, dtype(args.low), dtype(args.high)
        p, sign = dtype(wide_p), dtype(1 if wide_p > 0 else -1)
        last, messages = indptr[num_rows] - 1, scratch(dtype, ROOM)
        for _, begin, end in weighted_blocks(args, indptr, num_rows):
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
                            store(messages, (e - first) * C, m)
                            top = larger(mul(splat(sign, C), m), top)
                            seen = fma(m, splat(dtype(SMALL), C), seen)
                        scale = div(splat(dtype(1), C), power_of_2(mul(splat(sign, C), top)))
                        peak = mul(exponent, log2(mul(mul(splat(sign, C), top), scale)))
                        if first > indptr[i]:
                            fall = log2(mul(mul(splat(sign, C), before), scale))
                            mass = mul(mass, exp2_falling(fms(exponent, fall, peak)))
                        for n in range(stop - first):
                            q = mul(load(messages, n * C, C), scale)
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

    return power_forward
