"""`perceptron` on the CPU: a chunk of rows goes through both layers while it is in the cache, forward and backward."""

from __future__ import annotations

import functools
from typing import Any

import torch
from numba import njit
from torch import Tensor

from revgnn.kernels.cpu import simd
from revgnn.kernels.cpu.gemm import multiply, tiles
from revgnn.kernels.cpu.launch import NUMPY, constants, kernel, next_block, num_blocks, run
from revgnn.kernels.cpu.layer_norm import ROWS, norm_relu_rows, norm_relu_rows_backward
from revgnn.kernels.cpu.simd import add, load, opaque, pointer, scratch, splat, store

WIDEST = 1024
"""Channels of a layer at most: some rows of each layer lie on the stack."""


def fits(*widths: int) -> bool:
    """Whether there are kernels for layers of these widths."""
    return all(0 < width <= WIDEST and width % 4 == 0 for width in widths)


def chunk_of(*widths: int) -> int:
    """Rows at a time, a multiple of `ROWS`: as many as let weights and sums be read seldom, and wide layers still fit the cache."""
    return 3 * ROWS if max(widths) <= 256 else ROWS


@njit(inline="always")
def copy_rows(x, first, end, N, out, chunk):
    """The `chunk` rows of `x` from row `first` on; from row `end` on, the last before it again."""
    for r in range(opaque(chunk)):
        for c in range(0, N, 4):
            store(out, r * N + c, load(x, min(first + r, end - 1) * N + c, 4))


@njit(inline="always")
def add_column_sums(x, at, rows, N, sums, to, dtype, L, T):
    """Add the sums over `rows` rows of N elements, from `x[at]` on, to those from `sums[to]` on. L, T: strips."""
    last = (N - 1) // L * L
    for c in range(0, last, L):
        wide = splat(dtype(0), L)
        for r in range(opaque(rows)):
            wide = add(wide, load(x, at + r * N + c, L))
        store(sums, to + c, add(load(sums, to + c, L), wide))
    narrow = splat(dtype(0), T)
    for r in range(opaque(rows)):
        narrow = add(narrow, load(x, at + r * N + last, T))
    store(sums, to + last, add(load(sums, to + last, T), narrow))


@functools.cache
def perceptron_forward(C: int, H: int, D: int, dtype: Any) -> Any:
    """Widths are constants of the kernel: strides are then part of its instructions."""
    revision, chunk = simd.REVISION, chunk_of(C, H, D)
    rows_in, L, last_rows_in, T = tiles(chunk, H, dtype)
    rows_out, L_out, last_rows_out, T_out = tiles(chunk, D, dtype)
    room_in, room_hidden, room_out, square = chunk * C, chunk * H, chunk * D, ROWS * ROWS

    def rows(record):
        _ = revision
        num_rows, x, out = record[2], pointer(record[3], dtype), pointer(record[4], dtype)
        w_in, b_in, w_out, b_out = (
            pointer(record[5], dtype), pointer(record[6], dtype), pointer(record[7], dtype), pointer(record[8], dtype)
        )  # fmt: skip
        gamma, beta, eps = pointer(record[9], dtype), pointer(record[10], dtype), pointer(record[11], dtype)[0]
        own, hidden, result = scratch(dtype, room_in), scratch(dtype, room_hidden), scratch(dtype, room_out)
        folds, means, scales = scratch(dtype, square), scratch(dtype, ROWS), scratch(dtype, ROWS)
        chunks = (num_rows + chunk - 1) // chunk
        while True:
            block = next_block(record)
            if block >= record[1]:
                return
            for k in range(chunks * block // record[1], chunks * (block + 1) // record[1]):
                first = k * chunk
                source, at, target, to = x, first * C, out, first * D
                if first + chunk > num_rows:  # not full: on copies, filled up with its last row
                    copy_rows(x, first, num_rows, C, own, chunk)
                    source, at, target, to = own, 0, result, 0
                multiply(source, at, C, 1, w_in, b_in, 0, 0, hidden, 0, chunk, H, C, rows_in, L, last_rows_in, T)
                for r in range(0, opaque(chunk), ROWS):
                    norm_relu_rows(hidden, r * H, H, eps, folds, means, scales, gamma, beta, dtype, L, T)
                multiply(hidden, 0, H, 1, w_out, b_out, 0, 0, target, to, chunk, D, H, rows_out, L_out, last_rows_out, T_out)
                if first + chunk > num_rows:
                    for c in range(0, (num_rows - first) * D, 4):
                        store(out, first * D + c, load(result, c, 4))

    return kernel(rows)


@functools.cache
def perceptron_backward(C: int, H: int, D: int, dtype: Any) -> Any:
    """Backwards through the layers, a chunk at a time. Each block sums up gradients of its own: W_1' (C, H), W_2 (D, H), b_1, beta,
    gamma (H,), b_2 (D,), in this order; the next block's begin `stride` elements on."""
    revision, chunk, stride, SIZE = simd.REVISION, chunk_of(C, H, D), stride_of_sums(C, H, D), dtype(0).nbytes
    rows_in, L, last_rows_in, T = tiles(chunk, H, dtype)
    rows_x, L_x, last_rows_x, T_x = tiles(chunk, C, dtype)
    _, L_out, _, T_out = tiles(chunk, D, dtype)
    rows_1, _, last_rows_1, _ = tiles(C, H, dtype)
    rows_2, _, last_rows_2, _ = tiles(D, H, dtype)
    room_in, room_hidden, room_out, square = chunk * C, chunk * H, chunk * D, ROWS * ROWS

    def rows(record):
        _ = revision
        num_rows, x, grad, grad_x = record[2], pointer(record[3], dtype), pointer(record[4], dtype), pointer(record[5], dtype)
        w_in, w_in_t, b_in, w_out, nothing = (
            pointer(record[6], dtype), pointer(record[7], dtype), pointer(record[8], dtype), pointer(record[9], dtype),
            pointer(record[10], dtype),
        )  # fmt: skip
        gamma, beta, eps = pointer(record[11], dtype), pointer(record[12], dtype), pointer(record[13], dtype)[0]
        own, own_grad, result = scratch(dtype, room_in), scratch(dtype, room_out), scratch(dtype, room_in)
        before, after, grad_hidden = scratch(dtype, room_hidden), scratch(dtype, room_hidden), scratch(dtype, room_hidden)
        folds, along = scratch(dtype, square), scratch(dtype, square)
        means, scales, levels, slopes = scratch(dtype, ROWS), scratch(dtype, ROWS), scratch(dtype, ROWS), scratch(dtype, ROWS)
        chunks = (num_rows + chunk - 1) // chunk
        while True:
            block = next_block(record)
            if block >= record[1]:
                return
            mine = record[14] + block * stride * SIZE
            sum_w_in, sum_w_out = pointer(mine, dtype), pointer(mine + C * H * SIZE, dtype)
            sums = pointer(mine + (C + D) * H * SIZE, dtype)
            for n in range(0, opaque(stride), 16):
                store(sum_w_in, n, splat(dtype(0), 16))
            for k in range(chunks * block // record[1], chunks * (block + 1) // record[1]):
                first = k * chunk
                source, at, upstream, up, target, to = x, first * C, grad, first * D, grad_x, first * C
                if first + chunk > num_rows:  # not full: on copies, filled up with its last row, with no gradient
                    copy_rows(x, first, num_rows, C, own, chunk)
                    copy_rows(grad, first, num_rows, D, own_grad, chunk)
                    for c in range((num_rows - first) * D, chunk * D, 4):
                        store(own_grad, c, splat(dtype(0), 4))
                    source, at, upstream, up, target, to = own, 0, own_grad, 0, result, 0
                add_column_sums(upstream, up, chunk, D, sums, 3 * H, dtype, L_out, T_out)
                multiply(source, at, C, 1, w_in_t, b_in, 0, 0, before, 0, chunk, H, C, rows_in, L, last_rows_in, T)
                multiply(upstream, up, D, 1, w_out, nothing, 0, 0, grad_hidden, 0, chunk, H, D, rows_in, L, last_rows_in, T)
                for r in range(0, opaque(chunk), ROWS):
                    norm_relu_rows_backward(
                        before, after, grad_hidden, r * H, H, eps, folds, along, means, scales, levels, slopes, gamma, beta, sums,
                        dtype, L, T,
                    )  # fmt: skip
                multiply(upstream, up, 1, D, after, sum_w_out, 0, H, sum_w_out, 0, D, H, chunk, rows_2, L, last_rows_2, T)
                multiply(source, at, 1, C, grad_hidden, sum_w_in, 0, H, sum_w_in, 0, C, H, chunk, rows_1, L, last_rows_1, T)
                multiply(
                    grad_hidden, 0, H, 1, w_in, nothing, 0, 0, target, to, chunk, C, H, rows_x, L_x, last_rows_x, T_x
                )  # fmt: skip
                if first + chunk > num_rows:
                    for c in range(0, (num_rows - first) * C, 4):
                        store(grad_x, first * C + c, load(result, c, 4))

    return kernel(rows)


def stride_of_sums(C: int, H: int, D: int) -> int:
    """Elements from the sums of one block to those of the next: whole lines of the cache."""
    return -(-((C + D + 3) * H + D) // 16) * 16


def forward(
    x: Tensor, weight_in: Tensor, bias_in: Tensor, gamma: Tensor, beta: Tensor, weight_out: Tensor, bias_out: Tensor, eps: float
) -> Tensor:
    """(N, C) to (N, C'). Arguments are checked by the caller."""
    num_rows, (hidden, channels), width = x.shape[0], weight_in.shape, weight_out.shape[0]
    out = x.new_empty(num_rows, width)
    run(
        perceptron_forward(channels, hidden, width, NUMPY[x.dtype]), num_blocks(num_rows * hidden), num_rows, x, out,
        weight_in.t().contiguous(), bias_in, weight_out.t().contiguous(), bias_out, gamma, beta, constants(x.dtype, eps),
    )  # fmt: skip
    return out


def backward(
    grad: Tensor, x: Tensor, weight_in: Tensor, bias_in: Tensor, gamma: Tensor, beta: Tensor, weight_out: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, weight_in, bias_in, gamma, beta, weight_out and bias_out."""
    num_rows, (hidden, channels), width = x.shape[0], weight_in.shape, weight_out.shape[0]
    sizes = [channels * hidden, width * hidden, hidden, hidden, hidden, width]
    stride, nothing = stride_of_sums(channels, hidden, width), x.new_zeros(max(hidden, channels))
    # each block has sums of its own: about as many as take no more memory than x does, yet enough for many threads
    blocks = num_blocks(num_rows * hidden, most=min(32, max(16, x.numel() // stride)))
    grad_x, partial = torch.empty_like(x), x.new_empty(blocks, stride)
    run(
        perceptron_backward(channels, hidden, width, NUMPY[x.dtype]), blocks, num_rows, x, grad, grad_x, weight_in,
        weight_in.t().contiguous(), bias_in, weight_out, nothing, gamma, beta, constants(x.dtype, eps), partial,
    )  # fmt: skip
    total = partial.sum(0, dtype=torch.float64)[: sum(sizes)].to(x.dtype)
    w_in, w_out, b_in, b, g, b_out = (t.clone() for t in total.split(sizes))
    return grad_x, w_in.view(channels, hidden).t().contiguous(), b_in, g, b, w_out.view(width, hidden), b_out
