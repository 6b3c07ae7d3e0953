"""The message, as all kernels compute it."""

from __future__ import annotations

from numba import njit

from revgnn.ops.simd import add, fma, load, splat


@njit(inline="always")
def before_relu(x, row, a, e, w, base, stride, c, C, K):
    """Channels c to c + C of  x_row + A_e W + b."""
    m = add(load(x, row * stride + c, C), base)
    for k in range(K):
        m = fma(splat(a[e * K + k], C), load(w, k * stride + c, C), m)
    return m
