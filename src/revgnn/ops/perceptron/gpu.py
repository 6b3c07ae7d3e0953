"""`perceptron` on the GPU: a program takes some rows through all layers, with their whole hidden rows in its registers.

The forward pass is one launch. The backward pass is one launch that computes the hidden rows again and all gradients, and a second
one for the gradients of the parameters: each program has its own sums, which are too large for registers, so it adds to memory
tile by tile, and the second launch adds the sums of all programs in a fixed order.

Products have full precision (`tl.dot` in "ieee" arithmetic, for float32 without tensor cores), as those of `torch.nn.Linear` have
by default.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import triton.language as tl
from torch import Tensor

from revgnn.kernels.gpu.launch import jit, launch, power_of_two
from revgnn.ops.perceptron.contract import Inputs, Saved, Spec

TILE = 16
"""Columns or rows of a matrix at a time: the smallest number that `tl.dot` takes."""


class Shape(NamedTuple):
    """Rows and hidden channels of a program, and its warps."""

    rows: int
    hidden: int
    warps: int

    @classmethod
    def of(cls, dtype: torch.dtype, *widths: int) -> Shape:
        """Return the shape for these widths of input, hidden layer and result."""
        # in narrower tiles several threads have the same element, which is not faster
        hidden = max(64, power_of_two(widths[1]))
        return cls(32 if hidden <= 128 and dtype == torch.float32 else 16, hidden, 4 if hidden == 64 else 8)


# --- inside kernels --------------------------------------------------------------------------------------------------------------


@jit
def times(
    rows, r, live, K: tl.constexpr, matrix, ALONG_K: tl.constexpr, ALONG_H: tl.constexpr, H: tl.constexpr,
    BLOCK_R: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Return rows (N, K) times matrix (K, H), for the rows `r`. The matrix is read by its strides."""
    h = tl.arange(0, BLOCK_H)
    acc = tl.zeros((BLOCK_R, BLOCK_H), rows.dtype.element_ty)
    for first in range(0, K, BLOCK_K):
        k = first + tl.arange(0, BLOCK_K)
        a = tl.load(rows + r[:, None] * K + k[None, :], mask=live[:, None] & (k < K)[None, :], other=0)
        m = tl.load(matrix + k[:, None] * ALONG_K + h[None, :] * ALONG_H, mask=(k < K)[:, None] & (h < H)[None, :], other=0)
        acc = tl.dot(a, m, acc, input_precision="ieee", out_dtype=acc.dtype)
    return acc


@jit
def normed_rows(
    x, w_in, b_in, r, live, C: tl.constexpr, H: tl.constexpr, EPS: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_H: tl.constexpr,
    BLOCK_K: tl.constexpr,
):  # fmt: skip
    """Return hidden rows with mean 0 and variance 1, zero beyond H, and one over their deviations."""
    h = tl.arange(0, BLOCK_H)
    v = times(x, r, live, C, w_in, 1, C, H, BLOCK_R, BLOCK_H, BLOCK_K) + tl.load(b_in + h, mask=h < H, other=0)[None, :]
    off = tl.where((h < H)[None, :], v - (tl.sum(v, 1) / H)[:, None], 0)
    rstd = tl.rsqrt(tl.sum(off * off, 1) / H + EPS)
    return off * rstd[:, None], rstd


@jit
def perceptron_forward(
    x, w_in, b_in, gamma, beta, w_out, b_out, out, num_rows, C: tl.constexpr, H: tl.constexpr, D: tl.constexpr,
    EPS: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    r = tl.program_id(0).to(tl.int64) * BLOCK_R + tl.arange(0, BLOCK_R)
    live = r < num_rows
    h = tl.arange(0, BLOCK_H)
    w = tl.load(gamma + h, mask=h < H, other=0)
    b = tl.load(beta + h, mask=h < H, other=0)
    n, _ = normed_rows(x, w_in, b_in, r, live, C, H, EPS, BLOCK_R, BLOCK_H, BLOCK_K)
    y = n * w[None, :] + b[None, :]
    y = tl.where(y <= 0, 0, y)
    for first in range(0, D, BLOCK_K):
        d = first + tl.arange(0, BLOCK_K)
        m = tl.load(w_out + d[None, :] * H + h[:, None], mask=(h < H)[:, None] & (d < D)[None, :], other=0)
        o = tl.dot(y, m, input_precision="ieee", out_dtype=y.dtype) + tl.load(b_out + d, mask=d < D, other=0)[None, :]
        tl.store(out + r[:, None] * D + d[None, :], o, mask=live[:, None] & (d < D)[None, :])


@jit
def perceptron_backward(
    grad, x, w_in, b_in, gamma, beta, w_out, grad_x, partial, num_rows, share, C: tl.constexpr, H: tl.constexpr, D: tl.constexpr,
    EPS: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_D: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    """`share` rows a program. Its row of `partial`: gradients of w_in (H, C), w_out (D, H), b_in, gamma, beta (H,), b_out (D,).

    With n the normalised row and g the gradient below ReLU, times gamma, the hidden row has rstd (g - mean(g) - n mean(g n)).
    """
    pid = tl.program_id(0).to(tl.int64)
    h = tl.arange(0, BLOCK_H)
    d = tl.arange(0, BLOCK_D)
    dtype = grad_x.dtype.element_ty
    w = tl.load(gamma + h, mask=h < H, other=0)
    b = tl.load(beta + h, mask=h < H, other=0)
    sum_bias = tl.zeros((BLOCK_H,), dtype)
    sum_gamma = tl.zeros((BLOCK_H,), dtype)
    sum_beta = tl.zeros((BLOCK_H,), dtype)
    sum_last = tl.zeros((BLOCK_D,), dtype)
    sums_in = partial + pid * (H * C + D * H + 3 * H + D)
    sums_out = sums_in + H * C
    begin = pid * share
    end = tl.minimum(begin + share, num_rows)
    step = begin
    while step < end:
        r = step + tl.arange(0, BLOCK_R)
        live = r < end
        n, rstd = normed_rows(x, w_in, b_in, r, live, C, H, EPS, BLOCK_R, BLOCK_H, BLOCK_K)
        y = n * w[None, :] + b[None, :]
        g = times(grad, r, live, D, w_out, H, 1, H, BLOCK_R, BLOCK_H, BLOCK_K)
        g = tl.where(y <= 0, 0, g)
        y = tl.where(y <= 0, 0, y)
        sum_gamma += tl.sum(g * n, 0)
        sum_beta += tl.sum(g, 0)
        g *= w[None, :]
        mean_g = tl.sum(g, 1) / H
        mean_gn = tl.sum(g * n, 1) / H
        g = tl.where(live[:, None] & (h < H)[None, :], rstd[:, None] * (g - mean_g[:, None] - n * mean_gn[:, None]), 0)
        sum_bias += tl.sum(g, 0)
        for first in range(0, C, BLOCK_K):
            c = first + tl.arange(0, BLOCK_K)
            m = tl.load(w_in + h[:, None] * C + c[None, :], mask=(h < H)[:, None] & (c < C)[None, :], other=0)
            o = tl.dot(g, m, input_precision="ieee", out_dtype=dtype)
            tl.store(grad_x + r[:, None] * C + c[None, :], o, mask=live[:, None] & (c < C)[None, :])
        down = tl.trans(g)
        for first in range(0, C, BLOCK_K):
            c = first + tl.arange(0, BLOCK_K)
            v = tl.load(x + r[:, None] * C + c[None, :], mask=live[:, None] & (c < C)[None, :], other=0)
            at = sums_in + h[:, None] * C + c[None, :]
            inside = (h < H)[:, None] & (c < C)[None, :]
            acc = tl.load(at, mask=inside & (step > begin), other=0)
            tl.store(at, tl.dot(down, v, acc, input_precision="ieee", out_dtype=dtype), mask=inside)
        for first in range(0, D, BLOCK_K):
            k = first + tl.arange(0, BLOCK_K)
            up = tl.load(grad + r[None, :] * D + k[:, None], mask=live[None, :] & (k < D)[:, None], other=0)
            at = sums_out + k[:, None] * H + h[None, :]
            inside = (k < D)[:, None] & (h < H)[None, :]
            acc = tl.load(at, mask=inside & (step > begin), other=0)
            tl.store(at, tl.dot(up, y, acc, input_precision="ieee", out_dtype=dtype), mask=inside)
        sum_last += tl.sum(tl.load(grad + r[:, None] * D + d[None, :], mask=live[:, None] & (d < D)[None, :], other=0), 0)
        # in the next turn one thread may read what another has written above
        tl.debug_barrier()
        step += BLOCK_R
    sums = sums_out + D * H
    tl.store(sums + h, sum_bias, mask=h < H)
    tl.store(sums + H + h, sum_gamma, mask=h < H)
    tl.store(sums + 2 * H + h, sum_beta, mask=h < H)
    tl.store(sums + 3 * H + d, sum_last, mask=d < D)


@jit
def perceptron_sums(
    partial, w_in, w_out, b_in, gamma, beta, b_out, programs, C: tl.constexpr, H: tl.constexpr, D: tl.constexpr,
    BLOCK_P: tl.constexpr, BLOCK_Q: tl.constexpr,
):  # fmt: skip
    """Add up the rows of `partial` in float64, and write its part of the sum to each gradient."""
    q = tl.program_id(0) * BLOCK_Q + tl.arange(0, BLOCK_Q)
    size: tl.constexpr = H * C + D * H + 3 * H + D
    acc = tl.zeros((BLOCK_P, BLOCK_Q), tl.float64)
    step = programs * 0
    while step < programs:
        p = step + tl.arange(0, BLOCK_P).to(tl.int64)
        live = (p < programs)[:, None] & (q < size)[None, :]
        acc += tl.load(partial + p[:, None] * size + q[None, :], mask=live, other=0).to(tl.float64)
        step += BLOCK_P
    total = tl.sum(acc, 0).to(partial.dtype.element_ty)
    tl.store(w_in + q, total, mask=q < H * C)
    q -= H * C
    tl.store(w_out + q, total, mask=(q >= 0) & (q < D * H))
    q -= D * H
    tl.store(b_in + q, total, mask=(q >= 0) & (q < H))
    q -= H
    tl.store(gamma + q, total, mask=(q >= 0) & (q < H))
    q -= H
    tl.store(beta + q, total, mask=(q >= 0) & (q < H))
    q -= H
    tl.store(b_out + q, total, mask=(q >= 0) & (q < D))


# --- what the operator calls -----------------------------------------------------------------------------------------------------


def forward(inputs: Inputs, spec: Spec) -> tuple[Tensor, Saved]:
    x, weight_in, bias_in, gamma, beta, weight_out, bias_out = inputs
    num_rows, (hidden, channels), width = x.shape[0], weight_in.shape, weight_out.shape[0]
    shape = Shape.of(x.dtype, channels, hidden, width)
    out = x.new_empty(num_rows, width)
    launch(
        perceptron_forward, (math.ceil(num_rows / shape.rows),), x, shape.warps, x, weight_in, bias_in, gamma, beta, weight_out,
        bias_out, out, num_rows, C=channels, H=hidden, D=width, EPS=spec.eps, BLOCK_R=shape.rows, BLOCK_H=shape.hidden,
        BLOCK_K=TILE,
    )  # fmt: skip
    return out, Saved()


def backward(grad: Tensor, inputs: Inputs, saved: Saved, spec: Spec) -> Inputs:
    x, weight_in, bias_in, gamma, beta, weight_out, _ = inputs
    num_rows, (hidden, channels), width = x.shape[0], weight_in.shape, weight_out.shape[0]
    shape = Shape.of(x.dtype, channels, hidden, width)
    size = hidden * channels + width * hidden + 3 * hidden + width
    # Each program has its own sums: at most 4 times the memory of x, about what autograd would keep of the hidden layer.
    turns = math.ceil(num_rows / shape.rows)
    turns_each = math.ceil(turns / min(256, max(16, 4 * x.numel() // size)))
    programs = math.ceil(turns / turns_each)
    partial = x.new_empty(programs, size)
    grad_x, *grads = (torch.empty_like(t) for t in (x, weight_in, weight_out, bias_in, gamma, beta))
    grads.append(x.new_empty(width))
    widths = {"C": channels, "H": hidden, "D": width}
    launch(
        perceptron_backward, (programs,), x, shape.warps, grad, x, weight_in, bias_in, gamma, beta, weight_out, grad_x, partial,
        num_rows, turns_each * shape.rows, **widths, EPS=spec.eps, BLOCK_R=shape.rows, BLOCK_H=shape.hidden,
        BLOCK_D=max(TILE, power_of_two(width)), BLOCK_K=TILE,
    )  # fmt: skip
    launch(perceptron_sums, (math.ceil(size / 64),), x, 4, partial, *grads, programs, **widths, BLOCK_P=16, BLOCK_Q=64)
    w_in, w_out, b_in, g, b, b_out = grads
    return Inputs(grad_x, w_in, b_in, g, b, w_out, b_out)
