"""The message, and its gradient, as all GPU kernels compute them."""

from __future__ import annotations

import triton.language as tl

from revgnn.kernels.gpu.split_rows import jit


@jit
def add_edges(start, a, e, there, w, c, C, K: tl.constexpr):
    """`start` + A_e W, for a tile of edges and channels."""
    m = start
    if K <= 16:
        for k in tl.static_range(K):  # pyright: ignore[reportGeneralTypeIssues]
            feature = tl.load(a + e * K + k, mask=there, other=0)
            m += feature[:, None] * tl.load(w + k * C + c, mask=c < C, other=0)[None, :]
    else:
        for k in range(K):
            feature = tl.load(a + e * K + k, mask=there, other=0)
            m += feature[:, None] * tl.load(w + k * C + c, mask=c < C, other=0)[None, :]
    return m


@jit
def gathered(x, rows, there, b, c, C, BIAS: tl.constexpr):
    """x_row + b, for a tile of rows and channels."""
    m = tl.load(x + rows.to(tl.int64)[:, None] * C + c[None, :], mask=there[:, None] & (c < C)[None, :], other=0)
    if BIAS:
        m += tl.load(b + c, mask=c < C, other=0)[None, :]
    return m


@jit
def relu(m):
    """NaN stays NaN."""
    return tl.where(m <= 0, 0, m)


@jit
def clamped(m, CLAMP: tl.constexpr, LOW: tl.constexpr, HIGH: tl.constexpr):
    """NaN stays NaN."""
    if CLAMP:
        m = tl.where(m < LOW, LOW, tl.where(m > HIGH, HIGH, m))
    return m


@jit
def message_gradient(
    before, there, i, e, c, C, indptr, grad, out, first, second, param,
    EPS: tl.constexpr, CLAMP: tl.constexpr, LOW: tl.constexpr, HIGH: tl.constexpr, KIND: tl.constexpr,
):  # fmt: skip
    """Gradient of what ReLU is given, for a tile of edges `e` into nodes `i`, and what each adds to that of the temperature or
    exponent (0 where there is none).

    With g the gradient that reaches the node:

    - max: g where the edge has won (`second` holds the winners; `before` is not looked at);
    - sum, mean: g, divided by the degree;
    - softmax, weights s: g s (1 + t (m - out)), and g s m (m - out) for t; the semi-gradient keeps g s;
    - power: `grad` arrives as g out^(1 - p) / degree, in float64, and gives grad m^(p - 1), and grad m^p log(m) for p.
    """
    live = there[:, None] & (c < C)[None, :]
    at = i.to(tl.int64)[:, None] * C + c[None, :]
    if KIND == "max":
        won = tl.load(second + at, mask=live, other=-1) == e[:, None]
        g = tl.load(grad + at, mask=won & live, other=0)
        return g, g
    else:
        g = tl.load(grad + at, mask=live, other=0)
        slope = g
        m = relu(before) + EPS
        if KIND == "mean":
            degree = tl.load(indptr + i + 1, mask=there, other=1) - tl.load(indptr + i, mask=there, other=0)
            g = g / degree.to(g.dtype)[:, None]
        elif KIND == "softmax" or KIND == "softmax-semigrad":
            t = tl.load(param).to(m.dtype)
            peak = tl.load(first + at, mask=live, other=0)
            s = tl.exp(t * m - peak) * tl.load(second + at, mask=live, other=0)
            g = g * s
            if KIND == "softmax":
                off = m - tl.load(out + at, mask=live, other=0)
                slope = tl.where(live, g * m * off, 0)
                g += g * t * off
        elif KIND == "power":
            p = tl.load(param)
            inside = clamped(m, CLAMP, LOW, HIGH)
            wide = inside.to(tl.float64)
            ln = tl.log(wide)
            raised = g * tl.exp((p - 1) * ln)
            slope = tl.where(live, raised * wide * ln, 0)
            g = raised.to(m.dtype)
            if CLAMP:
                g = tl.where((m < LOW) | (m > HIGH), 0, g)
        return tl.where((before > 0) & live, g, 0), slope
