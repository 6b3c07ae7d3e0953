"""Backward kernels.

The kernels of x and of the edge features walk by source and compute the messages again, so that each row has one writer. Gradients
of what all edges share (weight, temperature, exponent) are summed in a fixed order from one partial sum a program.
"""

from __future__ import annotations

import triton.language as tl

from revgnn.kernels.gpu.launch import jit
from revgnn.kernels.gpu.split_rows import positions, share
from revgnn.ops.aggregate.gpu.message import add_edges, bias_of, few_rows, message_gradient, source_rows


@jit
def grad_x_by_source(
    indptr, dst, edge, x, a, w, b, parameter, destination_indptr, grad, out, winner, peaks, scales, grad_x, part, slopes,
    num_rows, blocks, C: tl.constexpr,
    EPS: tl.constexpr, CLAMP: tl.constexpr, LOW: tl.constexpr, HIGH: tl.constexpr, REDUCER: tl.constexpr, SLOPE: tl.constexpr,
    K: tl.constexpr, BIAS: tl.constexpr, SIZE: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Compute the gradient of x and, if `SLOPE`, a part of that of the temperature or exponent in `slopes`, a float64 a program."""
    row, begin, head, gap, count, slot = share(indptr, num_rows, blocks, SIZE)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    dtype = grad_x.dtype.element_ty
    start = tl.zeros((BLOCK_C,), dtype)
    if REDUCER != "max":
        start = tl.load(x + row * C + c, mask=c < C, other=0) + bias_of(x, b, c, C, BIAS)
    weights = few_rows(w, c, C, K if REDUCER != "max" else 0)
    acc = tl.zeros((BLOCK_E, BLOCK_C), dtype)
    rise = tl.zeros((BLOCK_E, BLOCK_C), grad.dtype.element_ty)
    step = count * 0
    while step < count:
        q, exists = positions(begin, head, gap, count, step, BLOCK_E)
        i = tl.load(dst + q)
        e = tl.load(edge + q).to(tl.int64)
        before = tl.zeros((BLOCK_E, BLOCK_C), dtype) + start[None, :]
        if REDUCER != "max":
            before = add_edges(before, a, e, w, weights, c, C, K)
        g, slope = message_gradient(
            before, exists, i, e, c, C, destination_indptr, grad, out, winner, peaks, scales, parameter,
            EPS, CLAMP, LOW, HIGH, REDUCER,
        )  # fmt: skip
        acc += g
        if SLOPE:
            rise += slope
        step += BLOCK_E
    total = tl.sum(acc, 0)
    if slot == -1:
        tl.store(grad_x + row * C + c, total, mask=c < C)
    elif slot >= 0:
        tl.store(part + slot * C + c, total, mask=c < C)
    if SLOPE:
        at = tl.program_id(0).to(tl.int64) * tl.num_programs(1) + tl.program_id(1)
        tl.store(slopes + at, tl.sum(tl.sum(rise, 0), 0).to(tl.float64))


@jit
def grad_edges_by_source(
    indptr, dst, edge, x, a, w, b, parameter, destination_indptr, grad, out, winner, peaks, scales, grad_a,
    num_rows, blocks, C: tl.constexpr,
    EPS: tl.constexpr, CLAMP: tl.constexpr, LOW: tl.constexpr, HIGH: tl.constexpr, REDUCER: tl.constexpr,
    K: tl.constexpr, BLOCK_K: tl.constexpr, BIAS: tl.constexpr, SIZE: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Compute the gradient of the edge features: the message's, times W transposed. One program takes all channels of an edge."""
    row, begin, head, gap, count, _slot = share(indptr, num_rows, blocks, SIZE)
    dtype = grad_a.dtype.element_ty
    column = tl.arange(0, BLOCK_K)
    step = count * 0
    while step < count:
        q, exists = positions(begin, head, gap, count, step, BLOCK_E)
        i = tl.load(dst + q)
        e = tl.load(edge + q).to(tl.int64)
        acc = tl.zeros((BLOCK_E, BLOCK_K), dtype)
        channel = tl.program_id(1)
        while channel < C:
            c = channel + tl.arange(0, BLOCK_C)
            before = tl.zeros((BLOCK_E, BLOCK_C), dtype)
            if REDUCER != "max":
                before += (tl.load(x + row * C + c, mask=c < C, other=0) + bias_of(x, b, c, C, BIAS))[None, :]
                before = add_edges(before, a, e, w, few_rows(w, c, C, K), c, C, K)
            g, _slope = message_gradient(
                before, exists, i, e, c, C, destination_indptr, grad, out, winner, peaks, scales, parameter,
            EPS, CLAMP, LOW, HIGH, REDUCER,
            )  # fmt: skip
            for k in range(K):
                along = tl.sum(g * tl.load(w + k * C + c, mask=c < C, other=0)[None, :], 1)
                acc += tl.where((column == k)[None, :], along[:, None], 0)
            channel += BLOCK_C
        tl.store(grad_a + e[:, None] * K + column[None, :], acc, mask=exists[:, None] & (column < K)[None, :])
        step += BLOCK_E


@jit
def grad_weight(
    dst, edge, src, x, a, w, b, parameter, destination_indptr, grad, out, winner, peaks, scales, partial, num_edges,
    C: tl.constexpr,
    EPS: tl.constexpr, CLAMP: tl.constexpr, LOW: tl.constexpr, HIGH: tl.constexpr, REDUCER: tl.constexpr,
    K: tl.constexpr, BLOCK_K: tl.constexpr, BIAS: tl.constexpr, BLOCK_E: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Compute the gradient of the weight, A transposed times the message's: a partial sum (K, C) a program, over a run of edges."""
    pid = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    k = tl.program_id(2) * BLOCK_K + tl.arange(0, BLOCK_K)
    step = pid * num_edges // tl.num_programs(0)
    end = (pid + 1) * num_edges // tl.num_programs(0)
    bias, weights = bias_of(x, b, c, C, BIAS), few_rows(w, c, C, K)
    acc = tl.zeros((BLOCK_K, BLOCK_C), partial.dtype.element_ty)
    while step < end:
        q = step + tl.arange(0, BLOCK_E)
        exists = q < end
        q = tl.minimum(q, end - 1)
        i = tl.load(dst + q)
        e = tl.load(edge + q).to(tl.int64)
        before = add_edges(source_rows(x, tl.load(src + e), bias, c, C), a, e, w, weights, c, C, K)
        g, _slope = message_gradient(
            before, exists, i, e, c, C, destination_indptr, grad, out, winner, peaks, scales, parameter,
            EPS, CLAMP, LOW, HIGH, REDUCER,
        )  # fmt: skip
        feature = tl.load(a + e[:, None] * K + k[None, :], mask=exists[:, None] & (k < K)[None, :], other=0)
        acc += tl.sum(feature[:, :, None] * g[:, None, :], 0)
        step += BLOCK_E
    at = (pid * K + k)[:, None] * C + c[None, :]
    tl.store(partial + at, acc, mask=(k < K)[:, None] & (c < C)[None, :])


@jit
def grad_weight_of_max(
    winner, grad, a, partial, num_rows, C: tl.constexpr,
    K: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Compute the same from the N x C winners, over a run of nodes."""
    pid = tl.program_id(0).to(tl.int64)
    c = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)
    k = tl.program_id(2) * BLOCK_K + tl.arange(0, BLOCK_K)
    step = pid * num_rows // tl.num_programs(0)
    end = (pid + 1) * num_rows // tl.num_programs(0)
    acc = tl.zeros((BLOCK_C, BLOCK_K), partial.dtype.element_ty)
    while step < end:
        i = step + tl.arange(0, BLOCK_R)
        at = i[:, None] * C + c[None, :]
        live = (i < end)[:, None] & (c < C)[None, :]
        e = tl.load(winner + at, mask=live, other=-1).to(tl.int64)
        won = e >= 0
        g = tl.load(grad + at, mask=won, other=0)
        feature = tl.load(a + e[:, :, None] * K + k[None, None, :], mask=won[:, :, None] & (k < K)[None, None, :], other=0)
        acc += tl.sum(g[:, :, None] * feature, 0)
        step += BLOCK_R
    at = (pid * K + k)[None, :] * C + c[:, None]
    tl.store(partial + at, acc, mask=(k < K)[None, :] & (c < C)[:, None])
