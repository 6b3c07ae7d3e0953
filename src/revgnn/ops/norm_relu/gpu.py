"""Layer norm, ReLU and a dropout mask in one pass on the GPU, forward and backward.

$y = \\mathrm{relu}\\left(\\frac{x - \\mu}{\\sigma} w + b\\right) \\cdot \\mathrm{mask}$ with mean and
deviation over the channels of a row. A program keeps whole rows in registers. The gradients of weight and bias are
sums, in a fixed order, of one partial sum for each program. Nothing is contracted to fused multiply-adds: in a row of equal
numbers, which cancel, the rounding error of a product would be left, times a large factor.
"""

from __future__ import annotations

import math

import torch
import triton.language as tl
from torch import Tensor

from revgnn.kernels.gpu.column_sums import column_sums
from revgnn.kernels.gpu.launch import jit, launch, power_of_two
from revgnn.ops.norm_relu.contract import Inputs, Saved, Spec


@jit
def norm_relu_forward(
    x, weight, bias, mask, out, means, rstds, num_rows, C, EPS: tl.constexpr, MASKED: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    r = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
    c = tl.arange(0, BLOCK_C)
    live = (r < num_rows)[:, None] & (c < C)[None, :]
    at = r[:, None] * C + c[None, :]
    dtype = means.dtype.element_ty
    v = tl.load(x + at, mask=live, other=0).to(dtype)
    mean = tl.sum(v, 1) / C
    off = tl.where(live, v - mean[:, None], 0)
    rstd = tl.rsqrt(tl.sum(off * off, 1) / C + EPS)
    w = tl.load(weight + c, mask=c < C, other=0).to(dtype)
    b = tl.load(bias + c, mask=c < C, other=0).to(dtype)
    y = off * rstd[:, None] * w[None, :] + b[None, :]
    y = tl.where(y <= 0, 0, y)
    if MASKED:
        y *= tl.load(mask + at, mask=live, other=0).to(dtype)
    tl.store(out + at, y.to(out.dtype.element_ty), mask=live)
    tl.store(means + r, mean, mask=r < num_rows)
    tl.store(rstds + r, rstd, mask=r < num_rows)


@jit
def norm_relu_backward(
    grad, x, means, rstds, weight, bias, mask, grad_x, partial, num_rows, C, MASKED: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """With n the normalised row and g the gradient below ReLU, times w: rstd (g - mean(g) - n mean(g n))."""
    pid = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, BLOCK_C)
    dtype = means.dtype.element_ty
    w = tl.load(weight + c, mask=c < C, other=0).to(dtype)
    b = tl.load(bias + c, mask=c < C, other=0).to(dtype)
    sum_w = tl.zeros((BLOCK_C,), dtype)
    sum_b = tl.zeros((BLOCK_C,), dtype)
    step = pid * num_rows // tl.num_programs(0)
    end = (pid + 1) * num_rows // tl.num_programs(0)
    while step < end:
        r = step + tl.arange(0, BLOCK_R)
        live = (r < end)[:, None] & (c < C)[None, :]
        at = r[:, None] * C + c[None, :]
        mean = tl.load(means + r, mask=r < end, other=0)
        rstd = tl.load(rstds + r, mask=r < end, other=0)
        n = tl.where(live, (tl.load(x + at, mask=live, other=0).to(dtype) - mean[:, None]) * rstd[:, None], 0)
        g = tl.load(grad + at, mask=live, other=0).to(dtype)
        if MASKED:
            g *= tl.load(mask + at, mask=live, other=0).to(dtype)
        g = tl.where(n * w[None, :] + b[None, :] > 0, g, 0)
        sum_w += tl.sum(g * n, 0)
        sum_b += tl.sum(g, 0)
        g *= w[None, :]
        mean_gn = tl.sum(g * n, 1) / C
        mean_g = tl.sum(g, 1) / C
        out = rstd[:, None] * (g - mean_g[:, None] - n * mean_gn[:, None])
        tl.store(grad_x + at, out.to(grad_x.dtype.element_ty), mask=live)
        step += BLOCK_R
    tl.store(partial + 2 * pid * C + c, sum_w, mask=c < C)
    tl.store(partial + (2 * pid + 1) * C + c, sum_b, mask=c < C)


def forward(inputs: Inputs, spec: Spec) -> tuple[Tensor, Saved]:
    x, weight, bias, mask = inputs
    num_rows, channels = x.shape
    dtype = torch.promote_types(x.dtype, torch.float32)
    rows, wide, warps = _shape(channels)
    out, mean, rstd = torch.empty_like(x), x.new_empty(num_rows, dtype=dtype), x.new_empty(num_rows, dtype=dtype)
    launch(
        norm_relu_forward, (math.ceil(num_rows / rows),), x, warps, x, weight, bias, x if mask is None else mask, out, mean, rstd,
        num_rows, channels, contract=False, EPS=spec.eps, MASKED=mask is not None, BLOCK_R=rows, BLOCK_C=wide,
    )  # fmt: skip
    return out, Saved(mean, rstd)


def backward(grad: Tensor, inputs: Inputs, saved: Saved, spec: Spec) -> Inputs:
    (x, weight, bias, mask), (mean, rstd) = inputs, saved
    assert mean is not None
    num_rows, channels = x.shape
    rows, wide, warps = _shape(channels)
    programs = max(1, min(512, num_rows // (2 * rows)))
    grad_x = torch.empty_like(x)
    partial = mean.new_empty(programs, 2, channels)
    launch(
        norm_relu_backward, (programs,), x, warps, grad, x, mean, rstd, weight, bias, x if mask is None else mask, grad_x,
        partial, num_rows, channels, contract=False, MASKED=mask is not None, BLOCK_R=rows, BLOCK_C=wide,
    )  # fmt: skip
    grad_w, grad_b = column_sums(partial).to(weight.dtype)
    return Inputs(grad_x, grad_w, grad_b, None)


def _shape(channels: int) -> tuple[int, int, int]:
    """Return the rows and channels that a program holds, and its warps."""
    wide = power_of_two(channels)
    rows = max(1, min(16, 1024 // wide))
    return rows, wide, max(1, min(8, rows * wide // 256))
