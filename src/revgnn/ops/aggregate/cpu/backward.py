"""Backward kernels.

That of max touches only the N x C winners. The others walk by source and recompute the message, so that each row of a gradient
has one writer. What all edges share (`weight`, temperature) is summed in a fixed order from one partial sum a block.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from revgnn.ops import simd
from revgnn.ops.aggregate.cpu.message import AHEAD, before_relu, prefetch_row
from revgnn.ops.launch import CHUNK, first_row, kernel, next_block
from revgnn.ops.simd import (
    add,
    add_outer,
    add_rows,
    div,
    exceeds,
    exp,
    fma,
    greater,
    load,
    load_converted,
    log,
    mul,
    narrow,
    pointer,
    prefetch,
    repeat,
    select,
    splat,
    store,
    sub,
    total,
    widen,
)

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


@functools.cache
def backward_by_source(
    C: int, K: int, kind: str, weights: bool, edges: bool, dtype: Any, coded: Any, index: Any, position: Any
) -> Any:
    """Gradients of x, weight, edge features and temperature or exponent. With g the gradient that reaches the node:

    - sum, mean: dm = g / degree;
    - softmax, weights s: dm = g s (1 + t (m - out)), dt = sum of g s m (m - out); the semi-gradient keeps g s;
    - power: `grad` arrives as g out^(1 - p) / degree, in float64 (of out = 1e-7, p = 7 float32 would overflow), and dm =
    grad m^(p - 1), dp = sum of grad m^p log(m) (the rest of dp is per node).
    """
    revision = simd.REVISION
    mean, softmax, semigrad, power = kind == "mean", kind.startswith("softmax"), kind == "softmax-semigrad", kind == "power"
    wide = np.float64 if power else dtype
    LINE = 64 // wide(0).nbytes

    def sources(record):
        _ = revision
        num_rows, stride, tiles = record[2], record[3], record[4]
        indptr, dst, edge = pointer(record[5], np.int64), pointer(record[6], index), pointer(record[7], position)
        x, a, w, b = pointer(record[8], dtype), pointer(record[9], coded), pointer(record[10], dtype), pointer(record[11], dtype)
        eps, grad, degrees = pointer(record[12], dtype)[0], pointer(record[13], wide), pointer(record[14], np.int64)
        grad_x, grad_a = pointer(record[15], dtype), pointer(record[16], dtype)
        partial_w, partial_t = pointer(record[17], np.float64), pointer(record[18], np.float64)
        out, peaks, scales = pointer(record[19], dtype), pointer(record[20], dtype), pointer(record[21], dtype)
        t = pointer(record[22], dtype)[0]
        p = pointer(record[22], np.float64)[0]
        low, high = pointer(record[23], dtype)[0], pointer(record[23], dtype)[1]
        while True:
            block = next_block(record)
            if block >= record[1]:
                return
            begin, end = first_row(indptr, num_rows, block, record[1]), first_row(indptr, num_rows, block + 1, record[1])
            mine = block * K * stride
            last = indptr[num_rows] - 1
            dt = 0.0
            for c in range(0, tiles * C, C):
                base, zero = load(b, c, C), splat(dtype(0), C)
                lowest, highest = splat(low, C), splat(high, C)
                for j in range(begin, end):
                    acc, slope = zero, splat(wide(0), C)
                    for first in range(indptr[j], indptr[j + 1], CHUNK):
                        part = zero
                        if weights:
                            rows = repeat(zero, K)
                        for q in range(first, min(first + CHUNK, indptr[j + 1])):
                            i, e = np.int64(dst[q]), np.int64(edge[q])
                            soon = min(q + AHEAD, last)
                            prefetch_row(grad, np.int64(dst[soon]), stride, c, C, LINE)
                            if K > 0:  # by source each edge's features are a cache line of their own
                                prefetch(a, np.int64(edge[soon]) * K)
                            before = before_relu(x, j, a, e, w, base, stride, c, C, K)
                            m = add(select(exceeds(before, zero), before, zero), splat(eps, C))
                            g = load(grad, i * stride + c, C)
                            if mean:
                                g = div(g, splat(dtype(degrees[i + 1] - degrees[i]), C))
                            if softmax:
                                s = mul(
                                    exp(sub(mul(splat(t, C), m), load(peaks, i * stride + c, C))), load(scales, i * stride + c, C)
                                )
                                g = mul(g, s)
                                if not semigrad:
                                    off = sub(m, load(out, i * stride + c, C))
                                    slope = fma(mul(g, m), off, slope)
                                    g = fma(g, mul(splat(t, C), off), g)
                            if power:
                                inside = select(greater(lowest, m), lowest, select(greater(m, highest), highest, m))
                                ln = log(widen(inside))
                                raised = mul(g, exp(mul(splat(p - 1.0, C), ln)))
                                slope = fma(mul(raised, widen(inside)), ln, slope)
                                g = narrow(raised, dtype)
                                g = select(greater(lowest, m), zero, select(greater(m, highest), zero, g))
                            g = select(greater(before, zero), g, zero)
                            part = add(part, g)
                            if weights:
                                rows = add_outer(rows, a, e * K, g)
                            if edges:
                                for k in range(K):
                                    grad_a[e * K + k] += total(mul(g, load(w, k * stride + c, C)))
                        acc = add(acc, part)
                        if weights:
                            add_rows(partial_w, mine + c, stride, rows)
                    dt += total(widen(slope))
                    store(grad_x, j * stride + c, acc)
            partial_t[block] = dt

    return kernel(sources)
