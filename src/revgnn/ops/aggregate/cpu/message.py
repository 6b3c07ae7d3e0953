"""The message, as all kernels of the CPU compute it."""

from __future__ import annotations

from numba import njit

from revgnn.kernels.cpu.simd import (
    add,
    add_encoded,
    add_product,
    greater,
    load,
    load_converted,
    prefetch,
    relu,
    select,
    splat,
    store,
)

AHEAD = 32
"""Edges by which loads are prefetched: the rows of the sources are anywhere in memory."""

MESSAGES = 64
"""Messages of a node whose features are decoded at a time, or that softmax and power keep in cache."""


@njit(inline="always")
def decode(stored, first, stop, decoded, K, FOUR, dtype):
    """Features of the edges `first` to `stop`, held in 16 bits, as `dtype`. `FOUR` is 4 K: four edges at a time.

    They are read in bursts, which the hardware does not predict: those of the chunk after the next are prefetched.
    """
    whole = first + (stop - first) // 4 * 4
    for e in range(first, whole, 4):
        prefetch(stored, (e + 2 * MESSAGES) * K)
        store(decoded, (e - first) * K, load_converted(stored, e * K, FOUR, dtype))
    for e in range(whole, stop):
        store(decoded, (e - first) * K, load_converted(stored, e * K, K, dtype))


@njit(inline="always")
def without_bias(x, row, a, e, w, stride, c, C, K):
    """Channels c to c + C of  x_row + A_e W."""
    return add_encoded(load(x, row * stride + c, C), a, e * K, w, c, stride, K)


@njit(inline="always")
def before_relu(x, row, a, e, w, base, stride, c, C, K):
    """Channels c to c + C of  x_row + A_e W + b."""
    return add_encoded(add(load(x, row * stride + c, C), base), a, e * K, w, c, stride, K)


@njit(inline="always")
def encoded(x, at, a, e, encoder, base, C, K):
    """The same for the row at element `at` of x, with W in registers; a loop that stores would load it again for each message."""
    return add_product(add(load(x, at, C), base), a, e * K, encoder)


@njit(inline="always")
def message(before, eps, C):
    return add(relu(before), splat(eps, C))


@njit(inline="always")
def clamped(m, lowest, highest):
    """Limit m; NaN stays NaN."""
    return select(greater(lowest, m), lowest, select(greater(m, highest), highest, m))


@njit(inline="always")
def prefetch_row(x, row, stride, c, C, LINE):
    """Prefetch channels c to c + C of a row, one cache line (`LINE` elements) at a time."""
    for n in range(0, C, LINE):
        prefetch(x, row * stride + c + n)
