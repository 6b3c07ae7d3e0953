"""`norm_relu` on the CPU: a row is one vector, which is read once and written once, forward and backward."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from numba import njit
from torch import Tensor

from revgnn.kernels.cpu.blocks import CHUNK, even_blocks
from revgnn.kernels.cpu.elements import ELEMENTS
from revgnn.kernels.cpu.kernel import Kernel, kernel, num_blocks, number, read, size, write
from revgnn.kernels.cpu.simd import add, add_rows, fma, greater, load, mul, relu, repeat, select, splat, store, sub, total
from revgnn.ops.norm_relu.contract import Inputs, Saved, Spec


@njit(inline="always")
def mean_and_scale(row, eps, C, dtype):
    """Return the mean of a row, and one over its deviation, which includes eps. Two passes avoid cancellation."""
    mean = total(row) / dtype(C)
    off = sub(row, splat(mean, C))
    return mean, dtype(1) / dtype(math.sqrt(total(mul(off, off)) / dtype(C) + eps))


@functools.cache
def norm_relu_forward(C: int, masked: bool, dtype: Any) -> Kernel:
    @kernel(
        num_rows=size,
        eps=number,
        x=read(dtype, f"num_rows * {C}"),
        weight=read(dtype, f"{C}"),
        bias=read(dtype, f"{C}"),
        mask=read(dtype, f"num_rows * {C}", optional=not masked),
        out=write(dtype, f"num_rows * {C}"),
    )
    def norm_relu_forward(args):
        x, mask, out, eps = args.x, args.mask, args.out, dtype(args.eps)
        gamma, beta = load(args.weight, 0, C), load(args.bias, 0, C)
        for _, begin, end in even_blocks(args, args.num_rows):
            for i in range(begin, end):
                mean, scale = mean_and_scale(load(x, i * C, C), eps, C, dtype)
                z = mul(sub(load(x, i * C, C), splat(mean, C)), splat(scale, C))
                y = relu(fma(z, gamma, beta))
                if masked:
                    y = mul(y, load(mask, i * C, C))
                store(out, i * C, y)

    return norm_relu_forward


@functools.cache
def norm_relu_backward(C: int, masked: bool, dtype: Any) -> Kernel:
    """See `revgnn.kernels.cpu.layer_norm` for the formulas. For each block, `partial` holds the sums for weight and bias."""

    @kernel(
        num_rows=size,
        eps=number,
        x=read(dtype, f"num_rows * {C}"),
        weight=read(dtype, f"{C}"),
        bias=read(dtype, f"{C}"),
        mask=read(dtype, f"num_rows * {C}", optional=not masked),
        grad=read(dtype, f"num_rows * {C}"),
        grad_x=write(dtype, f"num_rows * {C}"),
        partial=write(dtype, f"blocks * {2 * C}"),
    )
    def norm_relu_backward(args):
        x, mask, grad, grad_x, partial, eps = args.x, args.mask, args.grad, args.grad_x, args.partial, dtype(args.eps)
        gamma, beta, zero, share = load(args.weight, 0, C), load(args.bias, 0, C), splat(dtype(0), C), dtype(1.0 / C)
        for block, begin, end in even_blocks(args, args.num_rows):
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

    return norm_relu_backward


def forward(inputs: Inputs, spec: Spec) -> tuple[Tensor, Saved]:
    x, mask = inputs.x, inputs.mask
    num_rows, channels = x.shape
    out = torch.empty_like(x)
    run = norm_relu_forward(channels, mask is not None, ELEMENTS[x.dtype])
    run(num_blocks(x.numel()), num_rows=num_rows, eps=spec.eps, x=x, weight=inputs.weight, bias=inputs.bias, mask=mask, out=out)
    return out, Saved(None, None)


def backward(grad: Tensor, inputs: Inputs, saved: Saved, spec: Spec) -> Inputs:
    x, mask = inputs.x, inputs.mask
    num_rows, channels = x.shape
    blocks = num_blocks(x.numel(), most=64)
    grad_x, partial = torch.empty_like(x), x.new_zeros(blocks, 2, channels)
    run = norm_relu_backward(channels, mask is not None, ELEMENTS[x.dtype])
    run(
        blocks,
        num_rows=num_rows,
        eps=spec.eps,
        x=x,
        weight=inputs.weight,
        bias=inputs.bias,
        mask=mask,
        grad=grad,
        grad_x=grad_x,
        partial=partial,
    )
    grad_weight, grad_bias = partial.sum(0, dtype=torch.float64)
    return Inputs(grad_x, grad_weight.to(x.dtype, copy=True), grad_bias.to(x.dtype, copy=True), None)
