"""Layer norm and ReLU of rows in memory, forward and backward, for use inside kernels: `ROWS` rows at a time.

Rows of N elements are adjacent in memory. They are read in strips of `L` lanes and a last strip of `T` lanes. Sums along a row use
`folds`, ROWS x ROWS elements of scratch: each row first becomes 16 partial sums, and the transpose then has one lane for each row,
so that one division and one square root serve all rows. The order of a sum is the same for every row.

With z the normalised row, s one over its deviation and h = gamma g for a gradient g that has passed the ReLU, the gradient of the
row is s (h - mean(h) - z mean(h z)). The gradients of gamma and beta are the sums over all rows of g z and of g.

The functions have many arguments because numba inlines them: pointers to scratch and constants of the kernel are passed one by one.
"""

from __future__ import annotations

from numba import njit

from revgnn.kernels.cpu.simd import (
    add,
    div,
    fma,
    fold,
    greater,
    load,
    mul,
    opaque,
    relu,
    row_totals,
    select,
    splat,
    sqrt,
    store,
    sub,
)

ROWS = 16
"""Rows at a time: the number of lanes that `fold` returns."""


@njit(inline="always")
def moments(x, at, N, eps, folds, means, scales, dtype, L, T):
    """Write the means of the rows from `x[at]` on, and one over their deviations, which include eps.

    Two passes avoid cancellation.
    """
    last = (N - 1) // L * L
    for r in range(opaque(ROWS)):
        row, wide = at + r * N, splat(dtype(0), L)
        for c in range(0, last, L):
            wide = add(wide, load(x, row + c, L))
        store(folds, r * ROWS, add(fold(wide), fold(load(x, row + last, T))))
    store(means, 0, div(row_totals(folds, 0), splat(dtype(N), ROWS)))
    for r in range(opaque(ROWS)):
        row, wide = at + r * N, splat(dtype(0), L)
        for c in range(0, last, L):
            off = sub(load(x, row + c, L), splat(means[r], L))
            wide = fma(off, off, wide)
        off_last = sub(load(x, row + last, T), splat(means[r], T))
        store(folds, r * ROWS, add(fold(wide), fold(mul(off_last, off_last))))
    variance = div(row_totals(folds, 0), splat(dtype(N), ROWS))
    store(scales, 0, div(splat(dtype(1), ROWS), sqrt(add(variance, splat(eps, ROWS)))))


@njit(inline="always")
def normed(x, at, mean, scale, L):
    """Return `L` elements of z."""
    return mul(sub(load(x, at, L), splat(mean, L)), splat(scale, L))


@njit(inline="always")
def norm_relu_strip(x, at, N, c, means, scales, gamma, beta, L):
    """Replace elements c to c + L of the rows by those of relu(z gamma + beta)."""
    weight, bias = load(gamma, c, L), load(beta, c, L)
    for r in range(opaque(ROWS)):
        here = at + r * N + c
        store(x, here, relu(fma(normed(x, here, means[r], scales[r], L), weight, bias)))


@njit(inline="always")
def norm_relu_rows(x, at, N, eps, folds, means, scales, gamma, beta, dtype, L, T):
    """Replace the rows from `x[at]` on by relu(z gamma + beta)."""
    last = (N - 1) // L * L
    moments(x, at, N, eps, folds, means, scales, dtype, L, T)
    for c in range(0, last, L):
        norm_relu_strip(x, at, N, c, means, scales, gamma, beta, L)
    norm_relu_strip(x, at, N, last, means, scales, gamma, beta, T)


@njit(inline="always")
def through_relu(x, after, grad, at, N, c, means, scales, gamma, beta, folds, folds_z, sums, dtype, L):
    """For strip c of the rows, write relu(z gamma + beta) to `after`, and replace its gradient `grad` by h.

    Adds h to `folds`, h z to `folds_z`, and to the sums for beta, from `sums[N]` on, and for gamma, from `sums[2 N]` on.
    """
    weight, bias, zero = load(gamma, c, L), load(beta, c, L), splat(dtype(0), L)
    sum_bias, sum_weight = zero, zero
    for r in range(opaque(ROWS)):
        here = at + r * N + c
        z = normed(x, here, means[r], scales[r], L)
        y = relu(fma(z, weight, bias))
        g = select(greater(y, zero), load(grad, here, L), zero)
        h = mul(g, weight)
        store(after, here, y)
        store(grad, here, h)
        sum_bias, sum_weight = add(sum_bias, g), fma(g, z, sum_weight)
        store(folds, r * ROWS, add(load(folds, r * ROWS, ROWS), fold(h)))
        store(folds_z, r * ROWS, add(load(folds_z, r * ROWS, ROWS), fold(mul(h, z))))
    store(sums, N + c, add(load(sums, N + c, L), sum_bias))
    store(sums, 2 * N + c, add(load(sums, 2 * N + c, L), sum_weight))


@njit(inline="always")
def through_norm(x, grad, at, N, c, means, scales, means_h, means_hz, sums, dtype, L):
    """For strip c of the rows, replace h by the gradient of the rows, and add it to `sums`.

    `means_h` and `means_hz` are the means of h and of h z.
    """
    total = splat(dtype(0), L)
    for r in range(opaque(ROWS)):
        here = at + r * N + c
        z, h = normed(x, here, means[r], scales[r], L), load(grad, here, L)
        rest = fma(z, splat(-means_hz[r], L), sub(h, splat(means_h[r], L)))
        rest = mul(rest, splat(scales[r], L))
        store(grad, here, rest)
        total = add(total, rest)
    store(sums, c, add(load(sums, c, L), total))


@njit(inline="always")
def norm_relu_rows_backward(
    x, after, grad, at, N, eps, folds, folds_z, means, scales, means_h, means_hz, gamma, beta, sums, dtype, L, T
):
    """Write relu(z gamma + beta) of the rows from `x[at]` on to `after`, and replace its gradient `grad` by that of the rows.

    Adds the sums over the rows of their gradient, of that of beta and of that of gamma to `sums`, N elements each.
    """
    last = (N - 1) // L * L
    moments(x, at, N, eps, folds, means, scales, dtype, L, T)
    for r in range(opaque(ROWS)):
        store(folds, r * ROWS, splat(dtype(0), ROWS))
        store(folds_z, r * ROWS, splat(dtype(0), ROWS))
    for c in range(0, last, L):
        through_relu(x, after, grad, at, N, c, means, scales, gamma, beta, folds, folds_z, sums, dtype, L)
    through_relu(x, after, grad, at, N, last, means, scales, gamma, beta, folds, folds_z, sums, dtype, T)
    store(means_h, 0, div(row_totals(folds, 0), splat(dtype(N), ROWS)))
    store(means_hz, 0, div(row_totals(folds_z, 0), splat(dtype(N), ROWS)))
    for c in range(0, last, L):
        through_norm(x, grad, at, N, c, means, scales, means_h, means_hz, sums, dtype, L)
    through_norm(x, grad, at, N, last, means, scales, means_h, means_hz, sums, dtype, T)
