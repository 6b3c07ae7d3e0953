"""Forward kernels: they walk by destination, with the accumulators of a node in registers."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from revgnn.ops import simd
from revgnn.ops.aggregate.cpu.message import before_relu
from revgnn.ops.launch import CHUNK, first_row, kernel, next_block
from revgnn.ops.simd import add, div, exceeds, exp, fma, greater, load, log, mul, narrow, pointer, select, splat, store, sub, widen


@functools.cache
def max_forward(C: int, K: int, save: bool, dtype: Any, index: Any, position: Any) -> Any:
    """A message that ReLU cuts to 0 never wins: the running maximum starts there, and nothing else of ReLU is left to do."""
    revision = simd.REVISION

    def rows(record):
        _ = revision
        num_rows, stride, tiles = record[2], record[3], record[4]
        indptr, src, x = pointer(record[5], np.int64), pointer(record[6], index), pointer(record[7], dtype)
        a, w, b = pointer(record[8], dtype), pointer(record[9], dtype), pointer(record[10], dtype)
        eps, out, winner = pointer(record[11], dtype)[0], pointer(record[12], dtype), pointer(record[13], position)
        while True:
            block = next_block(record)
            if block >= record[1]:
                return
            begin, end = first_row(indptr, num_rows, block, record[1]), first_row(indptr, num_rows, block + 1, record[1])
            for c in range(0, tiles * C, C):
                base = load(b, c, C)
                for i in range(begin, end):
                    best, arg = splat(dtype(0), C), splat(position(-1), C)
                    for e in range(indptr[i], indptr[i + 1]):
                        m = before_relu(x, np.int64(src[e]), a, e, w, base, stride, c, C, K)
                        wins = exceeds(m, best)
                        best = select(wins, m, best)
                        if save:
                            arg = select(wins, splat(position(e), C), arg)
                    if indptr[i] < indptr[i + 1]:
                        best = add(best, splat(eps, C))
                    store(out, i * stride + c, best)
                    if save:
                        store(winner, i * stride + c, arg)

    return kernel(rows)


@functools.cache
def sum_forward(C: int, K: int, mean: bool, dtype: Any, index: Any) -> Any:
    revision = simd.REVISION

    def rows(record):
        _ = revision
        num_rows, stride, tiles = record[2], record[3], record[4]
        indptr, src, x = pointer(record[5], np.int64), pointer(record[6], index), pointer(record[7], dtype)
        a, w, b = pointer(record[8], dtype), pointer(record[9], dtype), pointer(record[10], dtype)
        eps, out = pointer(record[11], dtype)[0], pointer(record[12], dtype)
        while True:
            block = next_block(record)
            if block >= record[1]:
                return
            begin, end = first_row(indptr, num_rows, block, record[1]), first_row(indptr, num_rows, block + 1, record[1])
            for c in range(0, tiles * C, C):
                base, zero = load(b, c, C), splat(dtype(0), C)
                for i in range(begin, end):
                    acc = zero
                    for first in range(indptr[i], indptr[i + 1], CHUNK):
                        part = zero
                        for e in range(first, min(first + CHUNK, indptr[i + 1])):
                            m = before_relu(x, np.int64(src[e]), a, e, w, base, stride, c, C, K)
                            part = add(part, select(exceeds(m, zero), m, zero))
                        acc = add(acc, part)
                    degree = dtype(indptr[i + 1] - indptr[i])
                    acc = fma(splat(degree, C), splat(eps, C), acc)
                    if mean and degree > 0:
                        acc = div(acc, splat(degree, C))
                    store(out, i * stride + c, acc)

    return kernel(rows)


@functools.cache
def softmax_forward(C: int, K: int, dtype: Any, index: Any) -> Any:
    """Two walks over a node's edges: the largest score, then the sums. Recomputing a message costs less than rescaling by `exp`."""
    revision = simd.REVISION

    def rows(record):
        _ = revision
        num_rows, stride, tiles = record[2], record[3], record[4]
        indptr, src, x = pointer(record[5], np.int64), pointer(record[6], index), pointer(record[7], dtype)
        a, w, b = pointer(record[8], dtype), pointer(record[9], dtype), pointer(record[10], dtype)
        eps, out, peaks, scales = (
            pointer(record[11], dtype)[0],
            pointer(record[12], dtype),
            pointer(record[13], dtype),
            pointer(record[14], dtype),
        )
        t = pointer(record[15], dtype)[0]
        while True:
            block = next_block(record)
            if block >= record[1]:
                return
            begin, end = first_row(indptr, num_rows, block, record[1]), first_row(indptr, num_rows, block + 1, record[1])
            for c in range(0, tiles * C, C):
                base, zero = load(b, c, C), splat(dtype(0), C)
                for i in range(begin, end):
                    peak = splat(dtype(-np.inf), C)
                    for e in range(indptr[i], indptr[i + 1]):
                        m = before_relu(x, np.int64(src[e]), a, e, w, base, stride, c, C, K)
                        score = mul(splat(t, C), add(select(exceeds(m, zero), m, zero), splat(eps, C)))
                        peak = select(exceeds(score, peak), score, peak)
                    mass, acc = zero, zero
                    for e in range(indptr[i], indptr[i + 1]):
                        m = before_relu(x, np.int64(src[e]), a, e, w, base, stride, c, C, K)
                        m = add(select(exceeds(m, zero), m, zero), splat(eps, C))
                        raised = exp(sub(mul(splat(t, C), m), peak))
                        mass = add(mass, raised)
                        acc = fma(raised, m, acc)
                    if indptr[i] == indptr[i + 1]:
                        peak, mass = zero, splat(dtype(1), C)
                    store(out, i * stride + c, div(acc, mass))
                    store(peaks, i * stride + c, peak)
                    store(scales, i * stride + c, div(splat(dtype(1), C), mass))

    return kernel(rows)


@functools.cache
def power_forward(C: int, K: int, dtype: Any, index: Any) -> Any:
    """Powers and their mean in float64: `exp(p log(m))` in float32 would lose the digits that `p log(m)` has before the point.

    `rest` receives what rounding took from `out`: the backward pass raises their sum to a power, which multiplies relative
    errors by p.
    """
    revision = simd.REVISION

    def rows(record):
        _ = revision
        num_rows, stride, tiles = record[2], record[3], record[4]
        indptr, src, x = pointer(record[5], np.int64), pointer(record[6], index), pointer(record[7], dtype)
        a, w, b = pointer(record[8], dtype), pointer(record[9], dtype), pointer(record[10], dtype)
        eps, out, rest = pointer(record[11], dtype)[0], pointer(record[12], dtype), pointer(record[13], dtype)
        p = pointer(record[15], np.float64)[0]
        low, high = pointer(record[16], dtype)[0], pointer(record[16], dtype)[1]
        while True:
            block = next_block(record)
            if block >= record[1]:
                return
            begin, end = first_row(indptr, num_rows, block, record[1]), first_row(indptr, num_rows, block + 1, record[1])
            for c in range(0, tiles * C, C):
                base, zero = load(b, c, C), splat(dtype(0), C)
                lowest, highest = splat(low, C), splat(high, C)
                for i in range(begin, end):
                    acc = splat(np.float64(0), C)
                    for e in range(indptr[i], indptr[i + 1]):
                        m = before_relu(x, np.int64(src[e]), a, e, w, base, stride, c, C, K)
                        m = add(select(exceeds(m, zero), m, zero), splat(eps, C))
                        m = select(greater(lowest, m), lowest, select(greater(m, highest), highest, m))
                        acc = add(acc, exp(mul(splat(p, C), log(widen(m)))))
                    if indptr[i] < indptr[i + 1]:
                        acc = div(acc, splat(np.float64(indptr[i + 1] - indptr[i]), C))
                        acc = exp(mul(splat(1.0 / p, C), log(acc)))
                    rounded = narrow(acc, dtype)
                    store(out, i * stride + c, rounded)
                    store(rest, i * stride + c, narrow(sub(acc, widen(rounded)), dtype))

    return kernel(rows)
