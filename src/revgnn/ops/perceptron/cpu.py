"""`perceptron` on the CPU: `CHUNK` rows at a time go all the way through, in memory that stays in a core's own cache."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from revgnn.ops import simd
from revgnn.ops.gemm import lanes, multiply, tail
from revgnn.ops.launch import NUMPY, constants, kernel, next_block, num_blocks, run
from revgnn.ops.norm import (
    mean_and_scale,
    normed_relu,
    through_norm,
    through_relu,
)
from revgnn.ops.simd import add, load, pointer, scratch, splat, store, total

WIDEST = 1024
"""Channels of a layer at most: some rows of each layer lie on the stack."""

CHUNK = 24
"""Rows at a time, a multiple of 4."""


def fits(*widths: int) -> bool:
    """Whether there are kernels for layers of these widths."""
    return all(0 < width <= WIDEST and width % 4 == 0 for width in widths)


def _room(*widths: int) -> int:
    """Elements of `CHUNK` rows of the widest layer, rounded up to a power of two so that many networks share a kernel."""
    return CHUNK << (max(widths) - 1).bit_length()


@functools.cache
def perceptron_forward(room: int, T_H: int, T_D: int, dtype: Any) -> Any:
    """T_H, T_D: last tiles of the hidden layer and of the result."""
    revision, L = simd.REVISION, lanes(dtype)

    def rows(record):
        _ = revision
        num_rows, C, H, D = record[2], record[3], record[4], record[5]
        x, out, w_in, b_in = (
            pointer(record[6], dtype),
            pointer(record[7], dtype),
            pointer(record[8], dtype),
            pointer(record[9], dtype),
        )
        w_out, b_out, gamma, beta = (
            pointer(record[10], dtype), pointer(record[11], dtype), pointer(record[12], dtype), pointer(record[13], dtype)
        )  # fmt: skip
        eps = pointer(record[14], dtype)[0]
        own, hidden, result = scratch(dtype, room), scratch(dtype, room), scratch(dtype, room)
        while True:
            block = next_block(record)
            if block >= record[1]:
                return
            begin, end = num_rows * block // record[1], num_rows * (block + 1) // record[1]
            for first in range(begin, end, CHUNK):
                for r in range(CHUNK):  # a last chunk that is not full repeats its last row
                    for c in range(0, C, 4):
                        store(own, r * C + c, load(x, min(first + r, end - 1) * C + c, 4))
                multiply(own, C, 1, w_in, b_in, 0, hidden, CHUNK, H, C, L, T_H)
                for r in range(CHUNK):
                    mean, scale = mean_and_scale(hidden, r * H, H, eps, dtype, L, T_H)
                    for c in range(0, H // L * L, L):
                        normed_relu(hidden, r * H, hidden, r * H, c, mean, scale, gamma, beta, L)
                    for c in range(H // L * L, H, T_H):
                        normed_relu(hidden, r * H, hidden, r * H, c, mean, scale, gamma, beta, T_H)
                multiply(hidden, H, 1, w_out, b_out, 0, result, CHUNK, D, H, L, T_D)
                for r in range(min(CHUNK, end - first)):
                    for c in range(0, D, 4):
                        store(out, (first + r) * D + c, load(result, r * D + c, 4))

    return kernel(rows)


@functools.cache
def perceptron_backward(room: int, T_H: int, T_C: int, dtype: Any) -> Any:
    """Backwards through the layers, a chunk at a time. Each block sums up gradients of its own: W_1 (H, C), W_2 (D, H), b_1, beta,
    gamma (H,), b_2 (D,), in this order. T_H, T_C: last tiles of the hidden layer and of the input."""
    revision, L, SIZE = simd.REVISION, lanes(dtype), dtype(0).nbytes

    def rows(record):
        _ = revision
        num_rows, C, H, D = record[2], record[3], record[4], record[5]
        x, grad, grad_x, b_in = (
            pointer(record[6], dtype), pointer(record[7], dtype), pointer(record[8], dtype), pointer(record[9], dtype)
        )  # fmt: skip
        w_in, w_in_t, w_out, nothing = (
            pointer(record[10], dtype), pointer(record[11], dtype), pointer(record[12], dtype), pointer(record[13], dtype)
        )  # fmt: skip
        gamma, beta, eps = pointer(record[14], dtype), pointer(record[15], dtype), pointer(record[16], dtype)[0]
        own, upstream, result, own_sums = scratch(dtype, room), scratch(dtype, room), scratch(dtype, room), scratch(dtype, room)
        before, after, grad_hidden = scratch(dtype, room), scratch(dtype, room), scratch(dtype, room)
        while True:
            block = next_block(record)
            if block >= record[1]:
                return
            begin, end = num_rows * block // record[1], num_rows * (block + 1) // record[1]
            mine = record[17] + block * (H * C + D * H + 3 * H + D) * SIZE
            sum_w_in, sum_w_out = pointer(mine, dtype), pointer(mine + H * C * SIZE, dtype)
            sums = pointer(mine + (H * C + D * H) * SIZE, dtype)
            for first in range(begin, end, CHUNK):
                for c in range(0, 3 * H + D, 4):  # summed up chunk by chunk: a long sum loses fewer digits so
                    store(own_sums, c, splat(dtype(0), 4))
                for r in range(CHUNK):  # a last chunk that is not full repeats its last row, with no gradient
                    for c in range(0, C, 4):
                        store(own, r * C + c, load(x, min(first + r, end - 1) * C + c, 4))
                    for c in range(0, D, 4):
                        g = load(grad, (first + r) * D + c, 4) if first + r < end else splat(dtype(0), 4)
                        store(upstream, r * D + c, g)
                        store(own_sums, 3 * H + c, add(load(own_sums, 3 * H + c, 4), g))
                multiply(own, C, 1, w_in_t, b_in, 0, before, CHUNK, H, C, L, T_H)
                multiply(upstream, D, 1, w_out, nothing, 0, grad_hidden, CHUNK, H, D, L, T_H)
                for r in range(CHUNK):
                    at = r * H
                    mean, scale = mean_and_scale(before, at, H, eps, dtype, L, T_H)
                    wide, wide_along, last, last_along = (
                        splat(dtype(0), L), splat(dtype(0), L), splat(dtype(0), T_H), splat(dtype(0), T_H)
                    )  # fmt: skip
                    for c in range(0, H // L * L, L):
                        normed_relu(before, at, after, at, c, mean, scale, gamma, beta, L)
                        h, along = through_relu(before, after, grad_hidden, at, c, mean, scale, gamma, own_sums, H, dtype, L)
                        wide, wide_along = add(wide, h), add(wide_along, along)
                    for c in range(H // L * L, H, T_H):
                        normed_relu(before, at, after, at, c, mean, scale, gamma, beta, T_H)
                        h_last, along_last = through_relu(
                            before, after, grad_hidden, at, c, mean, scale, gamma, own_sums, H, dtype, T_H
                        )
                        last, last_along = add(last, h_last), add(last_along, along_last)
                    level = (total(wide) + total(last)) / dtype(H)
                    slope = (total(wide_along) + total(last_along)) / dtype(H)
                    for c in range(0, H // L * L, L):
                        through_norm(before, grad_hidden, at, c, mean, scale, level, slope, own_sums, L)
                    for c in range(H // L * L, H, T_H):
                        through_norm(before, grad_hidden, at, c, mean, scale, level, slope, own_sums, T_H)
                for c in range(0, 3 * H + D, 4):
                    store(sums, c, add(load(sums, c, 4), load(own_sums, c, 4)))
                multiply(upstream, 1, D, after, sum_w_out, H, sum_w_out, D, H, CHUNK, L, T_H)
                multiply(grad_hidden, 1, H, own, sum_w_in, C, sum_w_in, H, C, CHUNK, L, T_C)
                multiply(grad_hidden, H, 1, w_in, nothing, 0, result, CHUNK, C, H, L, T_C)
                for r in range(min(CHUNK, end - first)):
                    for c in range(0, C, 4):
                        store(grad_x, (first + r) * C + c, load(result, r * C + c, 4))

    return kernel(rows)


def forward(
    x: Tensor, weight_in: Tensor, bias_in: Tensor, gamma: Tensor, beta: Tensor, weight_out: Tensor, bias_out: Tensor, eps: float
) -> Tensor:
    """(N, C) to (N, C'). Arguments are checked by the caller."""
    num_rows, (hidden, channels), width = x.shape[0], weight_in.shape, weight_out.shape[0]
    dtype = NUMPY[x.dtype]
    out = x.new_empty(num_rows, width)
    compiled = perceptron_forward(_room(channels, hidden, width), tail(hidden, lanes(dtype)), tail(width, lanes(dtype)), dtype)
    run(
        compiled, num_blocks(num_rows * hidden), num_rows, channels, hidden, width, x, out, weight_in.t().contiguous(), bias_in,
        weight_out.t().contiguous(), bias_out, gamma, beta, constants(x.dtype, eps),
    )  # fmt: skip
    return out


def backward(
    grad: Tensor, x: Tensor, weight_in: Tensor, bias_in: Tensor, gamma: Tensor, beta: Tensor, weight_out: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, weight_in, bias_in, gamma, beta, weight_out and bias_out."""
    num_rows, (hidden, channels), width = x.shape[0], weight_in.shape, weight_out.shape[0]
    dtype = NUMPY[x.dtype]
    sizes = [hidden * channels, width * hidden, hidden, hidden, hidden, width]
    # each block has sums of its own: about as many as take no more memory than x does, yet enough for many threads
    blocks = num_blocks(num_rows * hidden, most=min(64, max(16, x.numel() // sum(sizes))))
    grad_x, partial = torch.empty_like(x), x.new_zeros(blocks, sum(sizes))
    compiled = perceptron_backward(_room(channels, hidden, width), tail(hidden, lanes(dtype)), tail(channels, lanes(dtype)), dtype)
    run(
        compiled, blocks, num_rows, channels, hidden, width, x, grad, grad_x, bias_in, weight_in, weight_in.t().contiguous(),
        weight_out, x.new_zeros(max(hidden, channels)), gamma, beta, constants(x.dtype, eps), partial,
    )  # fmt: skip
    w_in, w_out, b_in, b, g, b_out = (t.to(x.dtype, copy=True) for t in partial.sum(0, dtype=torch.float64).split(sizes))
    return grad_x, w_in.view_as(weight_in), b_in, g, b, w_out.view_as(weight_out), b_out
