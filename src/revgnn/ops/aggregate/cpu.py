"""`aggregate` on the CPU, forward and backward, without ever building messages: numba kernels on explicit vectors.

Every kernel is made by a factory that fixes the number of channels in a tile, the number of edge features and the dtypes,
so that accumulators live in registers. Forward walks by destination. The backward of max touches only the N x C winners;
the others walk by source and recompute the message, so that each row of a gradient has one writer. What all edges share
(`weight`, temperature) is summed in a fixed order from one partial sum a block, and the gradient of `bias` is the column
sum of that of `x`.

Each kernel reads its record in the order in which `forward` and `backward`, at the end, pass it on.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from revgnn.ops import simd
from revgnn.ops.launch import CHUNK, NUMPY, first_row, kernel, next_block, num_blocks, or_empty, pad, position_dtype, run, tile
from revgnn.ops.simd import (
    add,
    div,
    exceeds,
    exp,
    fma,
    greater,
    load,
    log,
    mul,
    narrow,
    pointer,
    select,
    splat,
    store,
    sub,
    total,
    widen,
)

KINDS = ("sum", "mean", "max", "softmax", "softmax-semigrad", "power")


@njit(inline="always")
def _before_relu(x, row, a, e, w, base, stride, c, C, K):
    """Channels c to c + C of  x_row + A_e W + b."""
    m = add(load(x, row * stride + c, C), base)
    for k in range(K):
        m = fma(splat(a[e * K + k], C), load(w, k * stride + c, C), m)
    return m


# --- forward -----------------------------------------------------------------------------------------------------------------


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
                        m = _before_relu(x, np.int64(src[e]), a, e, w, base, stride, c, C, K)
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
                            m = _before_relu(x, np.int64(src[e]), a, e, w, base, stride, c, C, K)
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
                        m = _before_relu(x, np.int64(src[e]), a, e, w, base, stride, c, C, K)
                        score = mul(splat(t, C), add(select(exceeds(m, zero), m, zero), splat(eps, C)))
                        peak = select(exceeds(score, peak), score, peak)
                    mass, acc = zero, zero
                    for e in range(indptr[i], indptr[i + 1]):
                        m = _before_relu(x, np.int64(src[e]), a, e, w, base, stride, c, C, K)
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
                        m = _before_relu(x, np.int64(src[e]), a, e, w, base, stride, c, C, K)
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


# --- backward: max ---------------------------------------------------------------------------------------------------------------


@functools.cache
def max_backward_edges(K: int, edges: bool, dtype: Any, position: Any) -> Any:
    """Gradient of the weight (one partial sum a block, transposed: C x K) and of the edge features, from the winners."""
    revision = simd.REVISION

    def rows(record):
        _ = revision
        num_rows, channels = record[2], record[3]
        winner, grad, a, wt = (
            pointer(record[4], position),
            pointer(record[5], dtype),
            pointer(record[6], dtype),
            pointer(record[7], dtype),
        )
        partial, grad_a = pointer(record[8], dtype), pointer(record[9], dtype)
        while True:
            block = next_block(record)
            if block >= record[1]:
                return
            mine = block * channels * K
            for i in range(num_rows * block // record[1], num_rows * (block + 1) // record[1]):
                for c in range(channels):
                    e = np.int64(winner[i * channels + c])
                    if e >= 0:
                        g = splat(grad[i * channels + c], K)
                        store(partial, mine + c * K, fma(g, load(a, e * K, K), load(partial, mine + c * K, K)))
                        if edges:
                            store(grad_a, e * K, fma(g, load(wt, c * K, K), load(grad_a, e * K, K)))

    return kernel(rows)


@functools.cache
def max_backward_x(dtype: Any, index: Any, position: Any) -> Any:
    """Scatter to the sources. A block owns a few channels of all rows, so an element has one writer and one order of summation."""
    revision = simd.REVISION

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
            for i in range(num_rows):
                for c in range(block * width, min(block * width + width, channels)):
                    e = winner[i * channels + c]
                    if e >= 0:
                        grad_x[np.int64(src[e]) * channels + c] += grad[i * channels + c]

    return kernel(columns)


# --- backward: everything but max ------------------------------------------------------------------------------------------------


@functools.cache
def backward_by_source(C: int, K: int, kind: str, weights: bool, edges: bool, dtype: Any, index: Any, position: Any) -> Any:
    """Gradients of x, weight, edge features and temperature or exponent. With g the gradient that reaches the node:

    - sum, mean: dm = g / degree;
    - softmax, weights s: dm = g s (1 + t (m - out)), dt = sum of g s m (m - out); the semi-gradient keeps g s;
    - power: `grad` arrives as g out^(1 - p) / degree, in float64 (of out = 1e-7, p = 7 float32 would overflow), and dm =
    grad m^(p - 1), dp = sum of grad m^p log(m) (the rest of dp is per node).
    """
    revision = simd.REVISION
    mean, softmax, semigrad, power = kind == "mean", kind.startswith("softmax"), kind == "softmax-semigrad", kind == "power"
    wide = np.float64 if power else dtype

    def rows(record):
        _ = revision
        num_rows, stride, tiles = record[2], record[3], record[4]
        indptr, dst, edge = pointer(record[5], np.int64), pointer(record[6], index), pointer(record[7], position)
        x, a, w, b = pointer(record[8], dtype), pointer(record[9], dtype), pointer(record[10], dtype), pointer(record[11], dtype)
        eps, grad, degrees = pointer(record[12], dtype)[0], pointer(record[13], wide), pointer(record[14], np.int64)
        grad_x, grad_a = pointer(record[15], dtype), pointer(record[16], dtype)
        partial_w, partial_t = pointer(record[17], dtype), pointer(record[18], np.float64)
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
            dt = 0.0
            for c in range(0, tiles * C, C):
                base, zero = load(b, c, C), splat(dtype(0), C)
                lowest, highest = splat(low, C), splat(high, C)
                for j in range(begin, end):
                    acc, slope = zero, splat(wide(0), C)
                    for first in range(indptr[j], indptr[j + 1], CHUNK):
                        part = zero
                        for q in range(first, min(first + CHUNK, indptr[j + 1])):
                            i, e = np.int64(dst[q]), np.int64(edge[q])
                            before = _before_relu(x, j, a, e, w, base, stride, c, C, K)
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
                                for k in range(K):
                                    at = mine + k * stride + c
                                    store(partial_w, at, fma(splat(a[e * K + k], C), g, load(partial_w, at, C)))
                            if edges:
                                for k in range(K):
                                    grad_a[e * K + k] += total(mul(g, load(w, k * stride + c, C)))
                        acc = add(acc, part)
                    dt += total(widen(slope))
                    store(grad_x, j * stride + c, acc)
            partial_t[block] = dt

    return kernel(rows)


# --- launchers -------------------------------------------------------------------------------------------------------------------


def forward(
    x: Tensor,
    indptr: Tensor,
    src: Tensor,
    edge_attr: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    kind: str,
    param: float,
    eps: float,
    clamp: tuple[float, float],
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """`out` and what the backward pass needs of it: winners for max (only if `save`), peaks and scales for softmax, what rounding
    took from `out` for power. Arguments are checked by the caller."""
    num_nodes, channels = x.shape
    lanes, padded = tile(channels)
    x, weight, bias = pad(x, padded), pad(weight, padded), pad(bias, padded)
    dtype, index = NUMPY[x.dtype], NUMPY[src.dtype]
    K = 0 if edge_attr is None else edge_attr.shape[1]
    out = torch.empty_like(x)
    first, second = x.new_empty(0), x.new_empty(0)
    if kind == "max":
        first = x.new_empty(out.shape if save else (0,), dtype=position_dtype(src))
        compiled = max_forward(lanes, K, save, dtype, index, NUMPY[first.dtype])
    elif kind in ("sum", "mean"):
        compiled = sum_forward(lanes, K, kind == "mean", dtype, index)
    elif kind == "power":
        first = torch.empty_like(x)
        compiled = power_forward(lanes, K, dtype, index)
    else:
        first, second = torch.empty_like(x), torch.empty_like(x)
        compiled = softmax_forward(lanes, K, dtype, index)
    run(
        compiled, num_blocks(src.numel() + num_nodes), num_nodes, padded, padded // lanes, indptr, src, x,
        or_empty(edge_attr, x), or_empty(weight, x), x.new_zeros(padded) if bias is None else bias, x.new_tensor([eps]), out,
        first, second, torch.tensor([param], dtype=torch.float64 if kind == "power" else x.dtype), x.new_tensor(clamp),
    )  # fmt: skip
    out, first, second = (t[:, :channels].contiguous() if t.dim() == 2 else t for t in (out, first, second))
    return out, first, second


def backward(
    grad: Tensor,
    x: Tensor,
    indptr: Tensor,
    src: Tensor,
    by_source: tuple[Tensor, ...],
    edge_attr: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    saved: tuple[Tensor, ...],
    kind: str,
    param: float,
    eps: float,
    clamp: tuple[float, float],
    wants_weight: bool,
    wants_edges: bool,
) -> tuple[Tensor, Tensor, Tensor, float]:
    """Gradients of x, weight and edge features (empty where not wanted or absent), and of the temperature or exponent."""
    if kind == "max":
        return (*_backward_max(grad, src, edge_attr, weight, saved[1], wants_weight, wants_edges), 0.0)
    num_nodes, channels = x.shape
    K = 0 if edge_attr is None else edge_attr.shape[1]
    lanes, padded = tile(channels)
    out, first, second = saved
    dparam = 0.0
    if kind == "power":  # what is the same for all edges of a node
        wide, grad = out.double() + first, grad.double()
        dparam = -float((grad * torch.special.xlogy(wide, wide)).sum()) / param
        grad = torch.where(wide > 0, grad * wide ** (1 - param) / indptr.diff().clamp(min=1).unsqueeze(1), 0.0)
    x, grad, out, first, second = (pad(t, padded) for t in (x, grad, out, first, second))
    weight, bias = pad(weight, padded), pad(bias, padded)
    grad_x = torch.empty_like(x)
    grad_a = torch.zeros_like(edge_attr) if edge_attr is not None and wants_edges else x.new_empty(0)
    blocks = num_blocks(src.numel() + num_nodes, most=64)
    partial_w = x.new_zeros((blocks, K, padded) if wants_weight else (0, K, padded))
    partial_t = torch.zeros(blocks, dtype=torch.float64)
    dtype, index, position = NUMPY[x.dtype], NUMPY[by_source[1].dtype], NUMPY[by_source[2].dtype]
    run(
        backward_by_source(lanes, K, kind, wants_weight and K > 0, wants_edges and K > 0, dtype, index, position), blocks,
        num_nodes, padded, padded // lanes, *by_source, x, or_empty(edge_attr, x), or_empty(weight, x),
        x.new_zeros(padded) if bias is None else bias, x.new_tensor([eps]), grad, indptr, grad_x, grad_a, partial_w, partial_t,
        out, first, second, torch.tensor([param], dtype=torch.float64 if kind == "power" else x.dtype), x.new_tensor(clamp),
    )  # fmt: skip
    dparam += float(partial_t.sum()) / (param if kind == "power" else 1.0)
    grad_w = partial_w.sum(0)[:, :channels].contiguous() if wants_weight else x.new_empty(0)
    return grad_x[:, :channels].contiguous(), grad_w, grad_a, dparam


def _backward_max(
    grad: Tensor,
    src: Tensor,
    edge_attr: Tensor | None,
    weight: Tensor | None,
    winner: Tensor,
    wants_weight: bool,
    wants_edges: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    num_nodes, channels = grad.shape
    dtype, index, position = NUMPY[grad.dtype], NUMPY[src.dtype], NUMPY[winner.dtype]
    grad_x, grad_w, grad_a = torch.zeros_like(grad), grad.new_empty(0), grad.new_empty(0)
    width = 16 if channels >= 32 else 8  # 16 float32 are a cache line: two threads seldom share one
    run(max_backward_x(dtype, index, position), -(-channels // width), num_nodes, channels, width, winner, grad, src, grad_x)
    if edge_attr is not None and weight is not None and (wants_weight or wants_edges):
        K = edge_attr.shape[1]
        blocks = num_blocks(grad.numel(), most=64)
        partial = grad.new_zeros(blocks, channels, K)
        if wants_edges:
            grad_a = torch.zeros_like(edge_attr)
        compiled = max_backward_edges(K, wants_edges, dtype, position)
        run(compiled, blocks, num_nodes, channels, winner, grad, edge_attr, weight.t().contiguous(), partial, grad_a)
        if wants_weight:
            grad_w = partial.sum(0).t().contiguous()
    return grad_x, grad_w, grad_a
