"""Layer norm and ReLU of one row in memory, forwards and backwards, as several kernels need them.

A row of N elements is walked in strips of `L` lanes and a last one of `T`. With z the normalised row, d its deviation and
h = gamma g for a gradient g that has passed the ReLU, the gradient of the row is (h - mean(h) - z mean(h z)) / d; the sums over
all rows of g z and of g are those of gamma and beta.
"""

from __future__ import annotations

import math

from numba import njit

from revgnn.ops.simd import add, fma, greater, load, mul, relu, select, splat, store, sub, total


@njit(inline="always")
def mean_and_scale(row, at, N, eps, dtype, L, T):
    """Mean of `N` elements from `row[at]` on, and one over their deviation, which has eps in it. Two passes: nothing cancels."""
    wide, narrow = splat(dtype(0), L), splat(dtype(0), T)
    for n in range(0, N // L * L, L):
        wide = add(wide, load(row, at + n, L))
    for n in range(N // L * L, N, T):
        narrow = add(narrow, load(row, at + n, T))
    mean = (total(wide) + total(narrow)) / dtype(N)
    wide, narrow = splat(dtype(0), L), splat(dtype(0), T)
    for n in range(0, N // L * L, L):
        off = sub(load(row, at + n, L), splat(mean, L))
        wide = fma(off, off, wide)
    for n in range(N // L * L, N, T):
        off_narrow = sub(load(row, at + n, T), splat(mean, T))
        narrow = fma(off_narrow, off_narrow, narrow)
    return mean, dtype(1) / dtype(math.sqrt((total(wide) + total(narrow)) / dtype(N) + eps))


@njit(inline="always")
def normed_relu(row, at, out, out_at, c, mean, scale, gamma, beta, L):
    """Elements c to c + L of  relu(z gamma + beta)."""
    z = mul(sub(load(row, at + c, L), splat(mean, L)), splat(scale, L))
    store(out, out_at + c, relu(fma(z, load(gamma, c, L), load(beta, c, L))))


@njit(inline="always")
def through_relu(row, after, grad, at, c, mean, scale, gamma, sums, N, dtype, L):
    """Replace the gradient of relu(z gamma + beta), `after`, by h, and add to the sums of beta's gradient (from `sums[N]` on) and
    gamma's (from `sums[2 N]` on). Returns h and h z."""
    z = mul(sub(load(row, at + c, L), splat(mean, L)), splat(scale, L))
    zero = splat(dtype(0), L)
    g = select(greater(load(after, at + c, L), zero), load(grad, at + c, L), zero)
    store(sums, N + c, add(load(sums, N + c, L), g))
    store(sums, 2 * N + c, fma(g, z, load(sums, 2 * N + c, L)))
    h = mul(g, load(gamma, c, L))
    store(grad, at + c, h)
    return h, mul(h, z)


@njit(inline="always")
def through_norm(row, grad, at, c, mean, scale, level, slope, sums, L):
    """Replace h by the gradient of the row, from the means of h (`level`) and h z (`slope`), and add it to `sums`."""
    z = mul(sub(load(row, at + c, L), splat(mean, L)), splat(scale, L))
    h = mul(sub(sub(load(grad, at + c, L), splat(level, L)), mul(z, splat(slope, L))), splat(scale, L))
    store(grad, at + c, h)
    store(sums, c, add(load(sums, c, L), h))
