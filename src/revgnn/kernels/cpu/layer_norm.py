"""Layer norm and ReLU of rows in memory, forwards and backwards, as several kernels need them: `ROWS` rows at a time.

Rows of N elements follow each other, and are walked in strips of `L` lanes and a last one of `T`. Sums along a row go through
`folds`, ROWS x ROWS elements of scratch: what is summed, as 16 lanes a row, is turned round, so that each row ends in a lane of its
own, where one division and one root serve all. Every row adds in the same order, wherever it stands.

With z the normalised row, s one over its deviation and h = gamma g for a gradient g that has passed the ReLU, the gradient of the
row is s (h - mean(h) - z mean(h z)); the sums over all rows of g z and of g are those of gamma and beta.
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
"""Rows at a time, the lanes of what `fold` gives."""


@njit(inline="always")
def moments(x, at, N, eps, folds, means, scales, dtype, L, T):
    """Means of the rows from `x[at]` on, and one over their deviations, which have eps in them. Two passes: nothing cancels."""
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
    """`L` elements of z."""
    return mul(sub(load(x, at, L), splat(mean, L)), splat(scale, L))


@njit(inline="always")
def norm_relu_strip(x, at, N, c, means, scales, gamma, beta, L):
    """Replace elements c to c + L of the rows by those of  relu(z gamma + beta)."""
    weight, bias = load(gamma, c, L), load(beta, c, L)
    for r in range(opaque(ROWS)):
        here = at + r * N + c
        store(x, here, relu(fma(normed(x, here, means[r], scales[r], L), weight, bias)))


@njit(inline="always")
def norm_relu_rows(x, at, N, eps, folds, means, scales, gamma, beta, dtype, L, T):
    """Replace the rows from `x[at]` on by  relu(z gamma + beta)."""
    last = (N - 1) // L * L
    moments(x, at, N, eps, folds, means, scales, dtype, L, T)
    for c in range(0, last, L):
        norm_relu_strip(x, at, N, c, means, scales, gamma, beta, L)
    norm_relu_strip(x, at, N, last, means, scales, gamma, beta, T)


@njit(inline="always")
def through_relu(x, after, grad, at, N, c, means, scales, gamma, beta, folds, along, sums, dtype, L):
    """Strip c of the rows: write  relu(z gamma + beta)  to `after`, and replace its gradient `grad` by h. Adds h to `folds`, h z to
    `along`, and to the sums of beta's gradient, from `sums[N]` on, and gamma's, from `sums[2 N]` on."""
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
        store(along, r * ROWS, add(load(along, r * ROWS, ROWS), fold(mul(h, z))))
    store(sums, N + c, add(load(sums, N + c, L), sum_bias))
    store(sums, 2 * N + c, add(load(sums, 2 * N + c, L), sum_weight))


@njit(inline="always")
def through_norm(x, grad, at, N, c, means, scales, levels, slopes, sums, dtype, L):
    """Strip c of the rows: replace h by their gradient, from the means of h (`levels`) and h z (`slopes`), and add it to `sums`."""
    total = splat(dtype(0), L)
    for r in range(opaque(ROWS)):
        here = at + r * N + c
        z, h = normed(x, here, means[r], scales[r], L), load(grad, here, L)
        rest = fma(z, splat(-slopes[r], L), sub(h, splat(levels[r], L)))
        rest = mul(rest, splat(scales[r], L))
        store(grad, here, rest)
        total = add(total, rest)
    store(sums, c, add(load(sums, c, L), total))


@njit(inline="always")
def norm_relu_rows_backward(
    x, after, grad, at, N, eps, folds, along, means, scales, levels, slopes, gamma, beta, sums, dtype, L, T
):
    """Write  relu(z gamma + beta)  of the rows from `x[at]` on to `after`, and replace its gradient `grad` by that of the rows.

    The sums over the rows of their gradient, of beta's and of gamma's are added to `sums`, N elements each.
    """
    last = (N - 1) // L * L
    moments(x, at, N, eps, folds, means, scales, dtype, L, T)
    for r in range(opaque(ROWS)):
        store(folds, r * ROWS, splat(dtype(0), ROWS))
        store(along, r * ROWS, splat(dtype(0), ROWS))
    for c in range(0, last, L):
        through_relu(x, after, grad, at, N, c, means, scales, gamma, beta, folds, along, sums, dtype, L)
    through_relu(x, after, grad, at, N, last, means, scales, gamma, beta, folds, along, sums, dtype, T)
    store(levels, 0, div(row_totals(folds, 0), splat(dtype(N), ROWS)))
    store(slopes, 0, div(row_totals(along, 0), splat(dtype(N), ROWS)))
    for c in range(0, last, L):
        through_norm(x, grad, at, N, c, means, scales, levels, slopes, sums, dtype, L)
    through_norm(x, grad, at, N, last, means, scales, levels, slopes, sums, dtype, T)
