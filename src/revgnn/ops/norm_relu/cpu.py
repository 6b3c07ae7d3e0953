"""`norm_relu` on the CPU: a row is one vector, which is read once and written once, forward and backward."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from numba import njit
from torch import Tensor

from revgnn.kernels.cpu import simd
from revgnn.kernels.cpu.launch import CHUNK, NUMPY, constants, kernel, next_block, num_blocks, or_nothing, run
from revgnn.kernels.cpu.simd import add, add_rows, fma, greater, load, mul, pointer, relu, repeat, select, splat, store, sub, total

WIDEST = 1024
"""Channels of a row at most."""


@njit(inline="always")
def mean_and_scale(row, eps, C, dtype):
    """Mean of a row, and one over its deviation, which has eps in it. Two passes: nothing cancels."""
    mean = total(row) / dtype(C)
    off = sub(row, splat(mean, C))
    return mean, dtype(1) / dtype(math.sqrt(total(mul(off, off)) / dtype(C) + eps))


@functools.cache
def norm_relu_forward(C: int, masked: bool, dtype: Any) -> Any:
    revision = simd.REVISION

    def rows(record):
        _ = revision
        num_rows, x, weight, bias = record[2], pointer(record[3], dtype), pointer(record[4], dtype), pointer(record[5], dtype)
        mask, eps, out = pointer(record[6], dtype), pointer(record[7], dtype)[0], pointer(record[8], dtype)
        gamma, beta = load(weight, 0, C), load(bias, 0, C)
        while True:
            block = next_block(record)
            if block >= record[1]:
                return
            for i in range(num_rows * block // record[1], num_rows * (block + 1) // record[1]):
                mean, scale = mean_and_scale(load(x, i * C, C), eps, C, dtype)
                z = mul(sub(load(x, i * C, C), splat(mean, C)), splat(scale, C))
                y = relu(fma(z, gamma, beta))
                if masked:
                    y = mul(y, load(mask, i * C, C))
                store(out, i * C, y)

    return kernel(rows)


@functools.cache
def norm_relu_backward(C: int, masked: bool, dtype: Any) -> Any:
    """See `revgnn.kernels.cpu.layer_norm` for the formulas."""
    revision = simd.REVISION

    def rows(record):
        _ = revision
        num_rows, x, weight, bias = record[2], pointer(record[3], dtype), pointer(record[4], dtype), pointer(record[5], dtype)
        mask, eps, grad = pointer(record[6], dtype), pointer(record[7], dtype)[0], pointer(record[8], dtype)
        grad_x, partial = pointer(record[9], dtype), pointer(record[10], dtype)
        gamma, beta, zero, share = load(weight, 0, C), load(bias, 0, C), splat(dtype(0), C), dtype(1.0 / C)
        while True:
            block = next_block(record)
            if block >= record[1]:
                return
            begin, end = num_rows * block // record[1], num_rows * (block + 1) // record[1]
            for first in range(begin, end, CHUNK):
                sum_weight, sum_bias = zero, zero
                for i in range(first, min(first + CHUNK, end)):
                    centre, scale = mean_and_scale(load(x, i * C, C), eps, C, dtype)
                    z = mul(sub(load(x, i * C, C), splat(centre, C)), splat(scale, C))
                    g = load(grad, i * C, C)
                    if masked:
                        g = mul(g, load(mask, i * C, C))
                    g = select(greater(fma(z, gamma, beta), zero), g, zero)
                    sum_weight, sum_bias = fma(g, z, sum_weight), add(sum_bias, g)
                    h = mul(g, gamma)
                    along, mean = splat(total(mul(h, z)) * share, C), splat(total(h) * share, C)
                    store(grad_x, i * C, mul(sub(sub(h, mean), mul(z, along)), splat(scale, C)))
                add_rows(partial, block * 2 * C, C, repeat(sum_weight, 1))
                add_rows(partial, (block * 2 + 1) * C, C, repeat(sum_bias, 1))

    return kernel(rows)


def forward(x: Tensor, weight: Tensor, bias: Tensor, mask: Tensor | None, eps: float) -> Tensor:
    """(N, C) to (N, C). Arguments are checked by the caller."""
    num_rows, channels = x.shape
    out = torch.empty_like(x)
    run(
        norm_relu_forward(channels, mask is not None, NUMPY[x.dtype]), num_blocks(x.numel()), num_rows, x, weight, bias,
        or_nothing(mask), constants(x.dtype, eps), out,
    )  # fmt: skip
    return out


def backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor, mask: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, weight and bias."""
    num_rows, channels = x.shape
    blocks = num_blocks(x.numel(), most=64)
    grad_x, partial = torch.empty_like(x), x.new_zeros(blocks, 2, channels)
    run(
        norm_relu_backward(channels, mask is not None, NUMPY[x.dtype]), blocks, num_rows, x, weight, bias, or_nothing(mask),
        constants(x.dtype, eps), grad, grad_x, partial,
    )  # fmt: skip
    grad_weight, grad_bias = partial.sum(0, dtype=torch.float64)
    return grad_x, grad_weight.to(x.dtype, copy=True), grad_bias.to(x.dtype, copy=True)
