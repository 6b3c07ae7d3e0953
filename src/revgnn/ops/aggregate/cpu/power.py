r"""The power mean on the CPU.

With g the gradient that reaches a node over its degree, the gradient of a message is $g (m / out)^{p - 1}$. That of the exponent is
$\frac{1}{p} \sum_j m_j\, \mathrm{grad}(m_j) \log(m_j / out)$.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from numba import njit
from torch import Tensor

from revgnn.kernels.cpu.blocks import CHUNK, blocks, first_row, weighted_blocks
from revgnn.kernels.cpu.kernel import Kernel, kernel, number, read, write
from revgnn.kernels.cpu.simd import (
    add,
    add_rows,
    div,
    exceeds,
    exp,
    exp2_falling,
    fma,
    fms,
    greater,
    larger,
    load,
    load_rows,
    log,
    log2,
    mul,
    narrow,
    power,
    power_of_2,
    repeat,
    scratch,
    select,
    splat,
    store,
    sub,
    total,
    widen,
)
from revgnn.ops.aggregate.contract import Inputs, Saved, Spec
from revgnn.ops.aggregate.cpu.by_destination import by_destination_arguments, flush, scatter, walk_by_destination
from revgnn.ops.aggregate.cpu.by_source import by_source_arguments, store_row, walk_by_source
from revgnn.ops.aggregate.cpu.message import (
    AHEAD,
    LN_2,
    MESSAGES,
    STATE,
    Dtypes,
    encoded,
    keep_messages,
    message,
    message_arguments,
    prefetch_row,
)
from revgnn.ops.aggregate.cpu.passes import (
    Found,
    add_in_order,
    forward_pass,
    gradients_of,
    num_features,
    parameter_of,
    with_residual,
)
from revgnn.ops.totals import total as total_of_all

SMALL = 2.0**-64
"""Factor of the messages that are added up to find infinities: so small that a sum of finite messages stays finite."""


@njit(inline="always")
def clamped(m, lowest, highest):
    """Return m within limits; NaN stays NaN."""
    return select(greater(lowest, m), lowest, select(greater(m, highest), highest, m))


@njit(inline="always")
def zero_outside(gradient, m, lowest, highest, zero):
    """Return the gradient of m before it was clamped: 0 beyond the limits."""
    return select(greater(lowest, m), zero, select(greater(m, highest), zero, gradient))


@functools.cache
def power_forward(C: int, K: int, dtypes: Dtypes) -> Kernel:
    r"""Compute $(\sum_j m_j^p / n)^{1/p}$ from $q_j = m_j / 2^k$ with $2^k$ next to the largest message (for p < 0 the smallest).

    $q^p = 2^{p \log_2 q}$. For the largest powers, which dominate the sum, $\log_2 q$ is near 0, so its digits are those behind the
    point, whereas $\log_2 m$ has some before it; and no power overflows. As in softmax, each power is relative to the largest.

    What is computed once a node is in float64. `remainder` is what rounding removes from `out`: the backward pass raises their sum
    to a power, which multiplies relative errors by p.
    """
    dtype = dtypes.state
    LINE, ROOM = 64 // dtype(0).nbytes, MESSAGES * C

    @kernel(
        **message_arguments(K, dtypes),
        exponent=number,
        low=number,
        high=number,
        out=write(dtype, STATE),
        remainder=write(dtype, STATE),
    )
    def power_forward(args):
        num_rows, stride, eps, indptr, src = args.num_rows, args.stride, dtype(args.eps), args.indptr, args.src
        x, features, out, remainder, p = args.x, args.features, args.out, args.remainder, args.exponent
        lowest, highest, exponent = splat(dtype(args.low), C), splat(dtype(args.high), C), splat(dtype(p), C)
        sign, last, kept = splat(dtype(1 if p > 0 else -1), C), indptr[num_rows] - 1, scratch(dtype, ROOM)
        for _, begin, end in weighted_blocks(args, indptr, num_rows):
            for c in range(args.channel, args.channel + args.tiles * C, C):
                bias, zero, encoder = load(args.bias, c, C), splat(dtype(0), C), load_rows(args.weight, c, stride, C, K)
                for i in range(begin, end):
                    top, mass, seen = splat(dtype(-np.inf), C), zero, zero
                    scale, peak = zero, zero
                    for first in range(indptr[i], indptr[i + 1], MESSAGES):
                        stop, top_before = min(first + MESSAGES, indptr[i + 1]), top
                        for e in range(first, stop):
                            prefetch_row(x, np.int64(src[min(e + AHEAD, last)]), stride, c, C, LINE)
                            m = message(encoded(x, np.int64(src[e]) * stride + c, features, e, encoder, bias, C, K), eps, C)
                            m = clamped(m, lowest, highest)
                            store(kept, (e - first) * C, m)
                            top = larger(mul(sign, m), top)
                            seen = fma(m, splat(dtype(SMALL), C), seen)
                        scale = div(splat(dtype(1), C), power_of_2(mul(sign, top)))
                        peak = mul(exponent, log2(mul(mul(sign, top), scale)))
                        if first > indptr[i]:
                            fall = log2(mul(mul(sign, top_before), scale))
                            mass = mul(mass, exp2_falling(fms(exponent, fall, peak)))
                        for n in range(stop - first):
                            q = mul(load(kept, n * C, C), scale)
                            mass = add(mass, exp2_falling(fms(exponent, log2(q), peak)))
                    if indptr[i] < indptr[i + 1]:
                        mean = div(widen(mass), splat(np.float64(indptr[i + 1] - indptr[i]), C))
                        mean = fma(widen(peak), splat(LN_2, C), log(mean))
                        root = div(exp(mul(splat(1.0 / p, C), mean)), widen(scale))
                        # the sum shows infinities and NaN, which log2 does not; for p < 0 the power of infinity is the smallest
                        worst = seen if p > 0 else select(exceeds(seen, seen), seen, mul(sign, top))
                        root = select(greater(splat(np.inf, C), widen(worst)), root, widen(worst))
                    else:
                        root = widen(zero)
                    rounded = narrow(root, dtype)
                    store(out, i * stride + c, rounded)
                    store(remainder, i * stride + c, narrow(sub(root, widen(rounded)), dtype))

    return power_forward


@njit(inline="always")
def message_gradient(m, g, inverse, less_one):
    """Return  g (m / out)^(p - 1),  the gradient of a message, and that times  m log2(m / out),  its part in the exponent's."""
    ratio = mul(m, inverse)
    gradient = mul(g, power(ratio, less_one))
    return gradient, mul(mul(gradient, m), log2(ratio))


@functools.cache
def power_backward_by_destination(C: int, K: int, wants_weight: bool, wants_features: bool, dtypes: Dtypes) -> Kernel:
    """Logarithms are to base 2: the sum of the slopes, times log(2) / p, is the gradient of the exponent."""
    dtype = dtypes.state
    LINE, ROOM = 64 // dtype(0).nbytes, CHUNK * C

    @kernel(
        **by_destination_arguments(K, wants_weight, wants_features, dtypes),
        exponent=number,
        low=number,
        high=number,
        out=read(dtype, STATE),
        remainder=read(dtype, STATE),
        slopes=write(np.float64, "blocks"),
    )
    def power_backward_by_destination(args):
        num_rows, stride, parts, padded, eps = args.num_rows, args.stride, args.parts, args.padded, dtype(args.eps)
        indptr, src, x, features = args.indptr, args.src, args.x, args.features
        grad, out, remainder = args.grad, args.out, args.remainder
        partial_x, partial_weight, grad_features = args.partial_x, args.partial_weight, args.grad_features
        lowest, highest = splat(dtype(args.low), C), splat(dtype(args.high), C)
        less_one = splat(dtype(args.exponent - 1.0), C)
        last, kept = indptr[num_rows] - 1, scratch(dtype, ROOM)
        for block in blocks(args):
            part, tile, slope = block % parts, block // parts, 0.0
            begin, end = first_row(indptr, num_rows, part, parts), first_row(indptr, num_rows, part + 1, parts)
            for c in range(args.channel + tile * C, args.channel + args.tiles * C, args.step):
                start, sums = part * num_rows * padded + c, part * K * stride + c
                bias, zero, encoder = load(args.bias, c, C), splat(dtype(0), C), load_rows(args.weight, c, stride, C, K)
                outer, pending = repeat(zero, K), 0
                for i in range(begin, end):
                    g = div(load(grad, i * stride + c, C), splat(dtype(indptr[i + 1] - indptr[i]), C))
                    root = add(widen(load(out, i * stride + c, C)), widen(load(remainder, i * stride + c, C)))
                    inverse = narrow(div(splat(1.0, C), root), dtype)
                    for first in range(indptr[i], indptr[i + 1], CHUNK):
                        stop, rise = min(first + CHUNK, indptr[i + 1]), zero
                        sum_of_all = zero
                        keep_messages(kept, x, src, first, stop, last, stride, c, features, encoder, bias, C, K, LINE)
                        for n in range(stop - first):
                            before = load(kept, n * C, C)
                            m = message(before, eps, C)
                            gradient, added = message_gradient(clamped(m, lowest, highest), g, inverse, less_one)
                            rise = add(rise, added)
                            gradient = zero_outside(gradient, m, lowest, highest, zero)
                            gradient = select(greater(before, zero), gradient, zero)
                            sum_of_all = add(sum_of_all, gradient)
                            store(kept, n * C, gradient)
                        slope += total(widen(rise))
                        for e in range(first, stop):
                            prefetch_row(partial_x, np.int64(src[min(e + AHEAD, last)]), padded, start, C, LINE)
                            outer = scatter(
                                load(kept, (e - first) * C, C), e, partial_x, start + np.int64(src[e]) * padded, features, outer,
                                encoder, grad_features, wants_weight, wants_features, C, K,
                            )  # fmt: skip
                        add_rows(args.partial_bias, part * stride + c, stride, repeat(sum_of_all, 1))
                        if wants_weight:
                            outer, pending = flush(outer, pending + stop - first, partial_weight, sums, stride, zero, K)
                if wants_weight:
                    add_rows(partial_weight, sums, stride, outer)
            args.slopes[block] = slope

    return power_backward_by_destination


@functools.cache
def power_backward_by_source(C: int, dtypes: Dtypes) -> Kernel:
    """`grad` arrives as  g out^(1 - p),  in float64: for out = 1e-7 and p = 7 float32 would overflow.

    Its sum over the edges, times  m^(p - 1),  is the gradient of the message. The slope is that times  m log(m);  the rest of the
    exponent's gradient is a sum over nodes.
    """
    dtype = dtypes.state
    LINE = 64 // np.float64(0).nbytes

    @kernel(**by_source_arguments(dtypes, np.float64), exponent=number, low=number, high=number, slopes=write(np.float64, "blocks"))
    def power_backward_by_source(args):
        num_rows, stride, eps, indptr, dst = args.num_rows, args.stride, dtype(args.eps), args.indptr, args.dst
        x, grad, grad_x, last = args.x, args.grad, args.grad_x, indptr[num_rows] - 1
        lowest, highest, less_one = splat(dtype(args.low), C), splat(dtype(args.high), C), splat(args.exponent - 1.0, C)
        for block, begin, end in weighted_blocks(args, indptr, num_rows):
            slope = 0.0
            for c in range(args.channel, args.channel + args.tiles * C, C):
                bias, zero, wide_zero = load(args.bias, c, C), splat(dtype(0), C), splat(0.0, C)
                for j in range(begin, end):
                    before, acc = add(load(x, j * stride + c, C), bias), wide_zero
                    for first in range(indptr[j], indptr[j + 1], CHUNK):
                        part = wide_zero
                        for q in range(first, min(first + CHUNK, indptr[j + 1])):
                            prefetch_row(grad, np.int64(dst[min(q + AHEAD, last)]), stride, c, C, LINE)
                            part = add(part, load(grad, np.int64(dst[q]) * stride + c, C))
                        acc = add(acc, part)
                    m = message(before, eps, C)
                    inside = widen(clamped(m, lowest, highest))
                    logarithm = log(inside)
                    gradient = mul(acc, exp(mul(less_one, logarithm)))
                    slope += total(mul(mul(gradient, inside), logarithm))
                    gradient = zero_outside(gradient, m, lowest, highest, wide_zero)
                    gradient = select(greater(before, zero), narrow(gradient, dtype), zero)
                    store_row(gradient, j, c, block, stride, grad_x, args.partial_bias)
            args.slopes[block] = slope

    return power_backward_by_source


def forward(inputs: Inputs, spec: Spec) -> tuple[Tensor, Saved]:
    x, (low, high) = inputs.x, spec.how.limits
    assert x is not None
    p, remainder = parameter_of(inputs, spec), torch.empty_like(x)
    if p == 0:
        raise ValueError("the learned exponent of the power mean is 0, which it does not have; start it elsewhere, or clamp it.")
    out = forward_pass(power_forward, inputs, spec, exponent=p, low=low, high=high, remainder=remainder)
    return with_residual(inputs, spec, out), Saved(out=out, remainder=remainder)


def backward(grad: Tensor, inputs: Inputs, saved: Saved, spec: Spec) -> Inputs:
    p = parameter_of(inputs, spec)
    walk = _by_destination if num_features(inputs) else _by_source
    found, slope = walk(grad, inputs, saved, spec, p)
    return gradients_of(grad, found, spec, slope / p)


def _by_destination(grad: Tensor, inputs: Inputs, saved: Saved, spec: Spec, p: float) -> tuple[Found, float]:
    low, high = spec.how.limits
    own = {"exponent": p, "low": low, "high": high, "out": saved.out, "remainder": saved.remainder}
    found = walk_by_destination(power_backward_by_destination, grad, inputs, spec, has_slopes=True, **own)
    return found, add_in_order(0.0, [slope * LN_2 for slope in found.slopes])


def _by_source(grad: Tensor, inputs: Inputs, saved: Saved, spec: Spec, p: float) -> tuple[Found, float]:
    assert saved.out is not None
    assert saved.remainder is not None
    (low, high), out, grad = spec.how.limits, saved.out.double() + saved.remainder, grad.double()
    slope = -float(total_of_all(grad * torch.special.xlogy(out, out)))
    degree = inputs.indptr.diff().clamp(min=1).unsqueeze(1)
    grad = torch.where(out > 0, grad * out ** (1 - p) / degree, 0.0)
    own = {"exponent": p, "low": low, "high": high}
    found = walk_by_source(power_backward_by_source, grad, inputs, spec, widest=32, has_slopes=True, **own)
    return found, add_in_order(slope, found.slopes)
