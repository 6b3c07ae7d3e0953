"""The message, and its gradient, as all GPU kernels compute them."""

from __future__ import annotations

import triton.language as tl

from revgnn.kernels.gpu.launch import jit
from revgnn.kernels.gpu.split_rows import falling_exp

FEW = tl.constexpr(16)
"""Features of an edge whose rows of W are kept in registers."""


@jit
def few_rows(w, c, C: tl.constexpr, K: tl.constexpr):
    """Return the rows of W for some channels, to be kept in registers; nothing if they are too many for that."""
    rows = ()
    if K <= FEW:
        for k in tl.static_range(K):  # pyright: ignore[reportGeneralTypeIssues]
            rows = rows + (tl.load(w + k * C + c, mask=c < C, other=0)[None, :],)  # noqa: RUF005
    return rows


@jit
def add_edges(start, a, e, w, rows, c, C: tl.constexpr, K: tl.constexpr):
    """Return `start` + A_e W, for a tile of edges, all of which exist, and channels; `rows` are the `few_rows` of W."""
    m = start
    if K <= FEW:
        for k in tl.static_range(K):  # pyright: ignore[reportGeneralTypeIssues]
            m += tl.load(a + e * K + k)[:, None] * rows[k]
    else:
        for k in range(K):
            m += tl.load(a + e * K + k)[:, None] * tl.load(w + k * C + c, mask=c < C, other=0)[None, :]
    return m


@jit
def bias_of(like, b, c, C: tl.constexpr, BIAS: tl.constexpr):
    """Return the bias of some channels in the dtype of `like`, or zeros."""
    bias = tl.zeros(c.shape, like.dtype.element_ty)
    if BIAS:
        bias += tl.load(b + c, mask=c < C, other=0)
    return bias


@jit
def source_rows(x, rows, bias, c, C: tl.constexpr):
    """Return x_row + bias, for a tile of rows, all of which exist, and channels."""
    return tl.load(x + rows.to(tl.int64)[:, None] * C + c[None, :], mask=(c < C)[None, :], other=0) + bias[None, :]


@jit
def relu(m):
    """Return max(m, 0); NaN stays NaN."""
    return tl.where(m <= 0, 0, m)


@jit
def clamped(m, CLAMP: tl.constexpr, LOW: tl.constexpr, HIGH: tl.constexpr):
    """Return m within limits; NaN stays NaN."""
    if CLAMP:
        m = tl.where(m < LOW, LOW, tl.where(m > HIGH, HIGH, m))
    return m


@jit
def softmax_gradient(m, g, at, live, out, peaks, scales, parameter, SEMI: tl.constexpr):
    """Return the gradient of the message and its part in the temperature's.

    With softmax weights s, these are g s (1 + t (m - out)) and g s m (m - out). The semi-gradient is g s, without a second part.
    """
    t = tl.load(parameter).to(m.dtype)
    peak = tl.load(peaks + at, mask=live, other=0)
    s = falling_exp(t * (m - peak)) * tl.load(scales + at, mask=live, other=0)
    g = g * s
    slope = g
    if not SEMI:
        off = m - tl.load(out + at, mask=live, other=0)
        slope = tl.where(live, g * m * off, 0)
        g += g * t * off
    return g, slope


@jit
def power_gradient(m, g, live, parameter, CLAMP: tl.constexpr, LOW: tl.constexpr, HIGH: tl.constexpr):
    """Return the gradient of the message, g m^(p - 1), and its part in the exponent's, g m^p log(m).

    g is the gradient that reaches the node times out^(1 - p) / degree, in float64.
    """
    p = tl.load(parameter)
    wide = clamped(m, CLAMP, LOW, HIGH).to(tl.float64)
    logarithm = tl.log(wide)
    raised = g * tl.exp((p - 1) * logarithm)
    slope = tl.where(live, raised * wide * logarithm, 0)
    g = raised.to(m.dtype)
    if CLAMP:
        g = tl.where((m < LOW) | (m > HIGH), 0, g)
    return g, slope


@jit
def message_gradient(
    before, exists, i, e, c, C, destination_indptr, grad, out, winner, peaks, scales, parameter,
    EPS: tl.constexpr, CLAMP: tl.constexpr, LOW: tl.constexpr, HIGH: tl.constexpr, REDUCER: tl.constexpr,
):  # fmt: skip
    """Return the gradient of what ReLU is given, for a tile of edges `e` into nodes `i`, and what each adds to the gradient of the
    temperature or exponent (not used for reducers that have none).

    With g the gradient that reaches the node: max takes g if the edge won, and ignores `before`; sum takes g, mean g over the
    degree. Softmax and power have functions of their own.
    """
    live = exists[:, None] & (c < C)[None, :]
    at = i.to(tl.int64)[:, None] * C + c[None, :]
    if REDUCER == "max":
        won = tl.load(winner + at, mask=live, other=-1) == e.to(winner.dtype.element_ty)[:, None]
        g = tl.load(grad + at, mask=won & live, other=0)
        return g, g
    else:
        g = tl.load(grad + at, mask=live, other=0)
        slope = g
        m = relu(before) + EPS
        if REDUCER == "mean":
            begin = tl.load(destination_indptr + i, mask=exists, other=0)
            end = tl.load(destination_indptr + i + 1, mask=exists, other=1)
            g = g / (end - begin).to(g.dtype)[:, None]
        elif REDUCER == "softmax" or REDUCER == "softmax-semigrad":
            g, slope = softmax_gradient(m, g, at, live, out, peaks, scales, parameter, REDUCER == "softmax-semigrad")
        elif REDUCER == "power":
            g, slope = power_gradient(m, g, live, parameter, CLAMP, LOW, HIGH)
        return tl.where((before > 0) & live, g, 0), slope
