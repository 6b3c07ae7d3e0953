"""Forward kernels: a program reads the edges into a node, or some of those into a hub; see `revgnn.kernels.gpu.split_rows`.

Each kernel is followed by a second one, which completes the rows that were split.
"""

from __future__ import annotations

import triton.language as tl

from revgnn.kernels.gpu.launch import jit
from revgnn.kernels.gpu.split_rows import divide, falling_exp, parts, position, positions, scratch_rows, share
from revgnn.ops.aggregate.gpu.message import add_edges, bias_of, clamped, few_rows, relu, source_rows

# --- max -------------------------------------------------------------------------------------------------------------------------


@jit
def better(m, best):
    """Return the mask by which a running maximum keeps the first of equal values, and the first NaN."""
    return ~(m <= best) & (best == best)


@jit
def best_of(best, arg):
    """Return the largest value of each column, and the first position that attains it.

    No value is negative, so values are in the order of their bits, with NaN above all.
    """
    WIDE: tl.constexpr = best.dtype.primitive_bitwidth == 64
    if WIDE:
        key = tl.where(best != best, 0x7FF8000000000000, best.to(tl.int64, bitcast=True))
    else:
        key = tl.where(best != best, 0x7FC00000, best.to(tl.int32, bitcast=True))
    top = tl.max(key, 0)
    NEVER: tl.constexpr = 0x7FFFFFFFFFFFFFFF if arg.dtype == tl.int64 else 0x7FFFFFFF
    first = tl.min(tl.where(key == top[None, :], arg, NEVER), 0)
    return top.to(best.dtype, bitcast=True), first


@jit
def max_forward(
    indptr, src, x, a, w, b, out, winner, part, part_winner, num_rows, blocks, C: tl.constexpr,
    EPS: tl.constexpr, K: tl.constexpr, BIAS: tl.constexpr, SAVE: tl.constexpr, SIZE: tl.constexpr,
    BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """A message that ReLU sets to 0 does not win: the running maximum starts at 0, and ReLU needs nothing else.

    A share of fewer edges than a tile has repeats its last edge, which cannot win a second time.
    """
    row, begin, head, gap, count, slot = share(indptr, num_rows, blocks, SIZE)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    bias, weights = bias_of(x, b, c, C, BIAS), few_rows(w, c, C, K)
    best = tl.zeros((BLOCK_E, BLOCK_C), out.dtype.element_ty)
    arg = tl.full((BLOCK_E, BLOCK_C), -1, tl.int32)
    step = count * 0
    while step < count:
        n = tl.minimum(step + tl.arange(0, BLOCK_E), count - 1)
        e = position(begin, head, gap, n)
        m = add_edges(source_rows(x, tl.load(src + e), bias, c, C), a, e, w, weights, c, C, K)
        wins = better(m, best)
        best = tl.where(wins, m, best)
        arg = tl.where(wins, n[:, None], arg)
        step += BLOCK_E
    value, n = best_of(best, arg)
    first = tl.where(n < 0, -1, position(begin, head, gap, n))
    if slot == -1:
        tl.store(out + row * C + c, value + tl.where(count > 0, EPS, 0.0).to(value.dtype), mask=c < C)
        if SAVE:
            tl.store(winner + row * C + c, first.to(winner.dtype.element_ty), mask=c < C)
    elif slot >= 0:
        tl.store(part + slot * C + c, value, mask=c < C)
        tl.store(part_winner + slot * C + c, first, mask=c < C)


@jit
def max_finish(
    indptr, part, part_winner, out, winner, num_rows, blocks, C: tl.constexpr,
    EPS: tl.constexpr, SAVE: tl.constexpr, SIZE: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """The ends of a row lie before and after its blocks, so the first position of equal values is searched for again."""
    row, _, start, count = parts(indptr, num_rows, blocks, SIZE)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    best = tl.zeros((BLOCK_E, BLOCK_C), out.dtype.element_ty)
    arg = tl.full((BLOCK_E, BLOCK_C), -1, tl.int64)
    step = count * 0
    while step < count:
        at, exists = scratch_rows(start, count, blocks, step, BLOCK_E)
        live = exists[:, None] & (c < C)[None, :]
        m = tl.load(part + at[:, None] * C + c[None, :], mask=live, other=0)
        e = tl.load(part_winner + at[:, None] * C + c[None, :], mask=live, other=-1)
        same = ((m == best) | ((m != m) & (best != best))) & (e < arg)
        wins = (better(m, best) | same) & live
        best = tl.where(wins, m, best)
        arg = tl.where(wins, e, arg)
        step += BLOCK_E
    value, first = best_of(best, arg)
    if count > 0:
        tl.store(out + row * C + c, value + EPS, mask=c < C)
        if SAVE:
            tl.store(winner + row * C + c, first.to(winner.dtype.element_ty), mask=c < C)


# --- sum, mean -------------------------------------------------------------------------------------------------------------------


@jit
def summed(total, degree, EPS: tl.constexpr, MEAN: tl.constexpr):
    n = degree.to(total.dtype)
    total += n * EPS
    if MEAN:
        total = divide(total, tl.where(degree > 0, n, n + 1))
    return total


@jit
def sum_forward(
    indptr, src, x, a, w, b, out, part, num_rows, blocks, C: tl.constexpr,
    EPS: tl.constexpr, K: tl.constexpr, BIAS: tl.constexpr, MEAN: tl.constexpr, SIZE: tl.constexpr,
    BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    row, begin, head, gap, count, slot = share(indptr, num_rows, blocks, SIZE)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    bias, weights = bias_of(x, b, c, C, BIAS), few_rows(w, c, C, K)
    acc = tl.zeros((BLOCK_E, BLOCK_C), out.dtype.element_ty)
    step = count * 0
    while step < count:
        e, exists = positions(begin, head, gap, count, step, BLOCK_E)
        m = add_edges(source_rows(x, tl.load(src + e), bias, c, C), a, e, w, weights, c, C, K)
        acc += tl.where(exists[:, None], relu(m), 0)
        step += BLOCK_E
    total = tl.sum(acc, 0)
    if slot == -1:
        tl.store(out + row * C + c, summed(total, count, EPS, MEAN), mask=c < C)
    elif slot >= 0:
        tl.store(part + slot * C + c, total, mask=c < C)


@jit
def sum_finish(
    indptr, part, out, num_rows, blocks, C: tl.constexpr,
    EPS: tl.constexpr, MEAN: tl.constexpr, SIZE: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    row, degree, start, count = parts(indptr, num_rows, blocks, SIZE)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    acc = tl.zeros((BLOCK_E, BLOCK_C), out.dtype.element_ty)
    step = count * 0
    while step < count:
        at, exists = scratch_rows(start, count, blocks, step, BLOCK_E)
        acc += tl.load(part + at[:, None] * C + c[None, :], mask=exists[:, None] & (c < C)[None, :], other=0)
        step += BLOCK_E
    if count > 0:
        tl.store(out + row * C + c, summed(tl.sum(acc, 0), degree, EPS, MEAN), mask=c < C)


# --- softmax ---------------------------------------------------------------------------------------------------------------------


@jit
def fall(peak, top, strength):
    """Return the factor that takes sums from one peak to a larger one, `top`: 0 from none."""
    return tl.where(peak == float("-inf"), 0, falling_exp(strength * (peak - top)))


@jit
def softmax_forward(
    indptr, src, x, a, w, b, parameter, out, peaks, scales, part, part_peak, part_mass, num_rows, blocks, C: tl.constexpr,
    EPS: tl.constexpr, K: tl.constexpr, BIAS: tl.constexpr, SIZE: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Read the edges once. Each row of the tile has a peak and sums of its own, which are put together at the end; if a message
    has a larger score than those before, the sums so far are scaled down to it.

    Messages are subtracted before they are multiplied by t: however large, the exponent of the peak itself is then 0. Inside the
    loop and in parts, the peak is multiplied by the sign of t, so that it is the largest; minus infinity if there is none.
    """
    row, begin, head, gap, count, slot = share(indptr, num_rows, blocks, SIZE)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    t = tl.load(parameter).to(out.dtype.element_ty)
    sign = tl.where(t < 0, -1.0, 1.0).to(out.dtype.element_ty)
    bias, weights = bias_of(x, b, c, C, BIAS), few_rows(w, c, C, K)
    peaks_of = tl.full((BLOCK_E, BLOCK_C), float("-inf"), out.dtype.element_ty)
    masses = tl.zeros((BLOCK_E, BLOCK_C), out.dtype.element_ty)
    sums = tl.zeros((BLOCK_E, BLOCK_C), out.dtype.element_ty)
    step = count * 0
    while step < count:
        e, exists = positions(begin, head, gap, count, step, BLOCK_E)
        m = relu(add_edges(source_rows(x, tl.load(src + e), bias, c, C), a, e, w, weights, c, C, K)) + EPS
        rises = ~(sign * m <= peaks_of)
        factor = fall(tl.where(rises, peaks_of, sign * m), tl.where(rises, sign * m, peaks_of), sign * t)
        kept, added = tl.where(rises, factor, 1), tl.where(rises, 1, factor)
        masses = tl.where(exists[:, None], masses * kept + added, masses)
        sums = tl.where(exists[:, None], sums * kept + added * m, sums)
        peaks_of = tl.where(rises & exists[:, None], sign * m, peaks_of)
        step += BLOCK_E
    peak = tl.max(peaks_of, 0)
    kept = fall(peaks_of, peak[None, :], sign * t)
    mass, acc = tl.sum(masses * kept, 0), tl.sum(sums * kept, 0)
    if slot == -1:
        if count == 0:
            peak = tl.zeros((BLOCK_C,), out.dtype.element_ty)
            mass = peak + 1
        tl.store(out + row * C + c, divide(acc, mass), mask=c < C)
        tl.store(peaks + row * C + c, sign * peak, mask=c < C)
        tl.store(scales + row * C + c, 1 / mass, mask=c < C)
    elif slot >= 0:
        tl.store(part + slot * C + c, acc, mask=c < C)
        tl.store(part_peak + slot * C + c, peak, mask=c < C)
        tl.store(part_mass + slot * C + c, mass, mask=c < C)


@jit
def softmax_finish(
    indptr, parameter, part, part_peak, part_mass, out, peaks, scales, num_rows, blocks, C: tl.constexpr,
    SIZE: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    row, _, start, count = parts(indptr, num_rows, blocks, SIZE)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    t = tl.load(parameter).to(out.dtype.element_ty)
    sign = tl.where(t < 0, -1.0, 1.0).to(out.dtype.element_ty)
    top = tl.full((BLOCK_C,), float("-inf"), out.dtype.element_ty)
    step = count * 0
    while step < count:
        at, exists = scratch_rows(start, count, blocks, step, BLOCK_E)
        live = exists[:, None] & (c < C)[None, :]
        peak = tl.load(part_peak + at[:, None] * C + c[None, :], mask=live, other=float("-inf"))
        top = tl.maximum(top, tl.max(peak, 0))
        step += BLOCK_E
    mass = tl.zeros((BLOCK_C,), out.dtype.element_ty)
    acc = tl.zeros((BLOCK_C,), out.dtype.element_ty)
    step = count * 0
    while step < count:
        at, exists = scratch_rows(start, count, blocks, step, BLOCK_E)
        live = exists[:, None] & (c < C)[None, :]
        spot = at[:, None] * C + c[None, :]
        peak = tl.load(part_peak + spot, mask=live, other=float("-inf"))  # of an empty end of a row as well
        shrink = tl.where(live, fall(peak, top[None, :], sign * t), 0)
        mass += tl.sum(shrink * tl.load(part_mass + spot, mask=live, other=0), 0)
        acc += tl.sum(shrink * tl.load(part + spot, mask=live, other=0), 0)
        step += BLOCK_E
    if count > 0:
        tl.store(out + row * C + c, divide(acc, mass), mask=c < C)
        tl.store(peaks + row * C + c, sign * top, mask=c < C)
        tl.store(scales + row * C + c, 1 / mass, mask=c < C)


# --- power -----------------------------------------------------------------------------------------------------------------------


@jit
def store_root(total, degree, parameter, out, remainder, row, c, C):
    """Store the root of the mean, and in `remainder` what rounding removes: the backward pass raises the sum of both to a power."""
    n = tl.where(degree > 0, degree, 1).to(tl.float64)
    mean = tl.where(degree > 0, total / n, 1.0)
    value = tl.where(degree > 0, tl.exp(tl.log(mean) / tl.load(parameter)), 0.0)
    rounded = value.to(out.dtype.element_ty)
    tl.store(out + row * C + c, rounded, mask=c < C)
    tl.store(remainder + row * C + c, (value - rounded.to(tl.float64)).to(out.dtype.element_ty), mask=c < C)


@jit
def power_forward(
    indptr, src, x, a, w, b, parameter, out, remainder, part, num_rows, blocks, C: tl.constexpr,
    EPS: tl.constexpr, CLAMP: tl.constexpr, LOW: tl.constexpr, HIGH: tl.constexpr,
    K: tl.constexpr, BIAS: tl.constexpr, SIZE: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Compute powers and their mean in float64: in float32 `exp(p log(m))` would lose the digits that `p log(m)` has before the
    point, and overflow. On a GPU that is slow in float64 this kernel is slow."""
    row, begin, head, gap, count, slot = share(indptr, num_rows, blocks, SIZE)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    p = tl.load(parameter)
    bias, weights = bias_of(x, b, c, C, BIAS), few_rows(w, c, C, K)
    acc = tl.zeros((BLOCK_E, BLOCK_C), tl.float64)
    step = count * 0
    while step < count:
        e, exists = positions(begin, head, gap, count, step, BLOCK_E)
        m = add_edges(source_rows(x, tl.load(src + e), bias, c, C), a, e, w, weights, c, C, K)
        m = clamped(relu(m) + EPS, CLAMP, LOW, HIGH)
        acc += tl.where(exists[:, None], tl.exp(p * tl.log(m.to(tl.float64))), 0)
        step += BLOCK_E
    total = tl.sum(acc, 0)
    if slot == -1:
        store_root(total, count, parameter, out, remainder, row, c, C)
    elif slot >= 0:
        tl.store(part + slot * C + c, total, mask=c < C)


@jit
def power_finish(
    indptr, part, parameter, out, remainder, num_rows, blocks, C: tl.constexpr,
    SIZE: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    row, degree, start, count = parts(indptr, num_rows, blocks, SIZE)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    acc = tl.zeros((BLOCK_E, BLOCK_C), tl.float64)
    step = count * 0
    while step < count:
        at, exists = scratch_rows(start, count, blocks, step, BLOCK_E)
        acc += tl.load(part + at[:, None] * C + c[None, :], mask=exists[:, None] & (c < C)[None, :], other=0)
        step += BLOCK_E
    if count > 0:
        store_root(tl.sum(acc, 0), degree, parameter, out, remainder, row, c, C)
