"""`perceptron` on the CPU: a chunk of rows passes through both layers while it is in the cache, forward and backward."""

from __future__ import annotations

import functools
from typing import Any

import torch
from numba import njit
from torch import Tensor

from revgnn.kernels.cpu.blocks import blocks
from revgnn.kernels.cpu.elements import ELEMENTS
from revgnn.kernels.cpu.gemm import multiply, tiles
from revgnn.kernels.cpu.kernel import Kernel, kernel, num_blocks, number, read, size, write
from revgnn.kernels.cpu.layer_norm import ROWS, norm_relu_rows, norm_relu_rows_backward
from revgnn.kernels.cpu.simd import add, advanced, load, opaque, scratch, splat, store
from revgnn.ops.perceptron.contract import WIDEST, Inputs, Saved, Spec


def fits(*widths: int) -> bool:
    """Whether there are kernels for layers of these widths: multiples of 4, at most `WIDEST`."""
    widest = WIDEST["cpu"]
    return all(0 < width <= widest and width % 4 == 0 for width in widths)


def chunk_of(*widths: int) -> int:
    """Return the rows of a chunk, a multiple of `ROWS`: many, so that weights and sums are read seldom; fewer for wide layers, so
    that they fit the cache."""
    return 3 * ROWS if max(widths) <= 256 else ROWS


@njit(inline="always")
def copy_rows(x, first, end, N, out, chunk):
    """Copy the `chunk` rows of `x` from row `first` on; in place of rows from `end` on, the last row before."""
    for r in range(opaque(chunk)):
        for c in range(0, N, 4):
            store(out, r * N + c, load(x, min(first + r, end - 1) * N + c, 4))


@njit(inline="always")
def add_column_sums(x, at, rows, N, sums, to, dtype, L, T):
    """Add the sums over `rows` rows of N elements, from `x[at]` on, to those from `sums[to]` on. L, T: lanes of the strips."""
    last = (N - 1) // L * L
    for c in range(0, last, L):
        add_strip_sum(x, at + c, rows, N, sums, to + c, dtype, L)
    add_strip_sum(x, at + last, rows, N, sums, to + last, dtype, T)


@njit(inline="always")
def add_strip_sum(x, at, rows, N, sums, to, dtype, L):
    """Add up one strip of `add_column_sums`, `ROWS` rows at a time, so that the sum loses fewer digits."""
    total = splat(dtype(0), L)
    for first in range(0, opaque(rows), ROWS):
        part = splat(dtype(0), L)
        for r in range(first, first + opaque(ROWS)):
            part = add(part, load(x, at + r * N, L))
        total = add(total, part)
    store(sums, to, add(load(sums, to, L), total))


@functools.cache
def perceptron_forward(C: int, H: int, D: int, dtype: Any) -> Kernel:
    """Widths are constants of the kernel, so that strides are part of its instructions. The weights come transposed."""
    chunk = chunk_of(C, H, D)
    rows_in, L, last_rows_in, T = tiles(chunk, H, dtype)
    rows_out, L_out, last_rows_out, T_out = tiles(chunk, D, dtype)
    room_in, room_hidden, room_out, square = chunk * C, chunk * H, chunk * D, ROWS * ROWS

    @kernel(
        num_rows=size,
        eps=number,
        x=read(dtype, f"num_rows * {C}"),
        w_in=read(dtype, f"{C * H}"),
        b_in=read(dtype, f"{H}"),
        gamma=read(dtype, f"{H}"),
        beta=read(dtype, f"{H}"),
        w_out=read(dtype, f"{H * D}"),
        b_out=read(dtype, f"{D}"),
        out=write(dtype, f"num_rows * {D}"),
    )
    def perceptron_forward(args):
        num_rows, x, out, eps = args.num_rows, args.x, args.out, dtype(args.eps)
        w_in, b_in, w_out, b_out, gamma, beta = args.w_in, args.b_in, args.w_out, args.b_out, args.gamma, args.beta
        own, hidden, result = scratch(dtype, room_in), scratch(dtype, room_hidden), scratch(dtype, room_out)
        folds, means, scales = scratch(dtype, square), scratch(dtype, ROWS), scratch(dtype, ROWS)
        chunks = (num_rows + chunk - 1) // chunk
        for block in blocks(args):
            for k in range(chunks * block // args.blocks, chunks * (block + 1) // args.blocks):
                first = k * chunk
                source, at, target, to = x, first * C, out, first * D
                if first + chunk > num_rows:  # not full: work on copies, filled up with the last row
                    copy_rows(x, first, num_rows, C, own, chunk)
                    source, at, target, to = own, 0, result, 0
                multiply(source, at, C, 1, w_in, b_in, 0, 0, hidden, 0, chunk, H, C, rows_in, L, last_rows_in, T)
                for r in range(0, opaque(chunk), ROWS):
                    norm_relu_rows(hidden, r * H, H, eps, folds, means, scales, gamma, beta, dtype, L, T)
                multiply(hidden, 0, H, 1, w_out, b_out, 0, 0, target, to, chunk, D, H, rows_out, L_out, last_rows_out, T_out)
                if first + chunk > num_rows:
                    for c in range(0, (num_rows - first) * D, 4):
                        store(out, first * D + c, load(result, c, 4))

    return perceptron_forward


@functools.cache
def perceptron_backward(C: int, H: int, D: int, dtype: Any) -> Kernel:
    """Passes back through the layers, a chunk at a time.

    `partial` contains the sums of each block, `stride` elements apart: the gradients of W_1' (C, H), W_2 (D, H), b_1, beta, gamma
    (H,), b_2 (D,), in this order.
    """
    chunk, stride = chunk_of(C, H, D), stride_of_sums(C, H, D)
    rows_in, L, last_rows_in, T = tiles(chunk, H, dtype)
    rows_x, L_x, last_rows_x, T_x = tiles(chunk, C, dtype)
    _, L_out, _, T_out = tiles(chunk, D, dtype)
    rows_1, _, last_rows_1, _ = tiles(C, H, dtype)
    rows_2, _, last_rows_2, _ = tiles(D, H, dtype)
    room_in, room_hidden, room_out, square = chunk * C, chunk * H, chunk * D, ROWS * ROWS

    @kernel(
        num_rows=size,
        eps=number,
        x=read(dtype, f"num_rows * {C}"),
        grad=read(dtype, f"num_rows * {D}"),
        w_in=read(dtype, f"{C * H}"),
        w_in_t=read(dtype, f"{C * H}"),
        b_in=read(dtype, f"{H}"),
        gamma=read(dtype, f"{H}"),
        beta=read(dtype, f"{H}"),
        w_out=read(dtype, f"{H * D}"),
        zeros=read(dtype, f"{max(H, C)}"),
        grad_x=write(dtype, f"num_rows * {C}"),
        partial=write(dtype, f"blocks * {stride}"),
    )
    def perceptron_backward(args):
        num_rows, x, grad, grad_x, eps = args.num_rows, args.x, args.grad, args.grad_x, dtype(args.eps)
        w_in, w_in_t, b_in, w_out, zeros, gamma, beta = (
            args.w_in, args.w_in_t, args.b_in, args.w_out, args.zeros, args.gamma, args.beta
        )  # fmt: skip
        own, own_grad, result = scratch(dtype, room_in), scratch(dtype, room_out), scratch(dtype, room_in)
        before, after, grad_hidden = scratch(dtype, room_hidden), scratch(dtype, room_hidden), scratch(dtype, room_hidden)
        folds, folds_z = scratch(dtype, square), scratch(dtype, square)
        means, scales, means_h, means_hz = scratch(dtype, ROWS), scratch(dtype, ROWS), scratch(dtype, ROWS), scratch(dtype, ROWS)
        chunks = (num_rows + chunk - 1) // chunk
        for block in blocks(args):
            sum_w_in = advanced(args.partial, block * stride)
            sum_w_out, sums = advanced(sum_w_in, C * H), advanced(sum_w_in, (C + D) * H)
            for n in range(0, opaque(stride), 16):
                store(sum_w_in, n, splat(dtype(0), 16))
            for k in range(chunks * block // args.blocks, chunks * (block + 1) // args.blocks):
                first = k * chunk
                source, at, upstream, up, target, to = x, first * C, grad, first * D, grad_x, first * C
                if first + chunk > num_rows:  # not full: work on copies, filled up with the last row, with no gradient
                    copy_rows(x, first, num_rows, C, own, chunk)
                    copy_rows(grad, first, num_rows, D, own_grad, chunk)
                    for c in range((num_rows - first) * D, chunk * D, 4):
                        store(own_grad, c, splat(dtype(0), 4))
                    source, at, upstream, up, target, to = own, 0, own_grad, 0, result, 0
                add_column_sums(upstream, up, chunk, D, sums, 3 * H, dtype, L_out, T_out)
                multiply(source, at, C, 1, w_in_t, b_in, 0, 0, before, 0, chunk, H, C, rows_in, L, last_rows_in, T)
                multiply(upstream, up, D, 1, w_out, zeros, 0, 0, grad_hidden, 0, chunk, H, D, rows_in, L, last_rows_in, T)
                for r in range(0, opaque(chunk), ROWS):
                    norm_relu_rows_backward(
                        before, after, grad_hidden, r * H, H, eps, folds, folds_z, means, scales, means_h, means_hz, gamma, beta,
                        sums, dtype, L, T,
                    )  # fmt: skip
                multiply(upstream, up, 1, D, after, sum_w_out, 0, H, sum_w_out, 0, D, H, chunk, rows_2, L, last_rows_2, T)
                multiply(source, at, 1, C, grad_hidden, sum_w_in, 0, H, sum_w_in, 0, C, H, chunk, rows_1, L, last_rows_1, T)
                multiply(grad_hidden, 0, H, 1, w_in, zeros, 0, 0, target, to, chunk, C, H, rows_x, L_x, last_rows_x, T_x)
                if first + chunk > num_rows:
                    for c in range(0, (num_rows - first) * C, 4):
                        store(grad_x, first * C + c, load(result, c, 4))

    return perceptron_backward


def stride_of_sums(C: int, H: int, D: int) -> int:
    """Return the elements from the sums of one block to those of the next: whole cache lines."""
    return -(-((C + D + 3) * H + D) // 16) * 16


def forward(inputs: Inputs, spec: Spec) -> tuple[Tensor, Saved]:
    x, weight_in, bias_in, gamma, beta, weight_out, bias_out = inputs
    num_rows, (hidden, channels), width = x.shape[0], weight_in.shape, weight_out.shape[0]
    out = x.new_empty(num_rows, width)
    run = perceptron_forward(channels, hidden, width, ELEMENTS[x.dtype])
    run(
        num_blocks(num_rows * hidden),
        num_rows=num_rows,
        eps=spec.eps,
        x=x,
        w_in=weight_in.t().contiguous(),
        b_in=bias_in,
        gamma=gamma,
        beta=beta,
        w_out=weight_out.t().contiguous(),
        b_out=bias_out,
        out=out,
    )
    return out, Saved()


def backward(grad: Tensor, inputs: Inputs, saved: Saved, spec: Spec) -> Inputs:
    x, weight_in, bias_in, gamma, beta, weight_out, _ = inputs
    num_rows, (hidden, channels), width = x.shape[0], weight_in.shape, weight_out.shape[0]
    sizes = [channels * hidden, width * hidden, hidden, hidden, hidden, width]
    stride = stride_of_sums(channels, hidden, width)
    # each block has its own sums: enough blocks for many threads, but about as much memory as x at most
    cut = num_blocks(num_rows * hidden, most=min(32, max(16, x.numel() // stride)))
    grad_x, partial = torch.empty_like(x), x.new_empty(cut, stride)
    run = perceptron_backward(channels, hidden, width, ELEMENTS[x.dtype])
    run(
        cut,
        num_rows=num_rows,
        eps=spec.eps,
        x=x,
        grad=grad,
        w_in=weight_in,
        w_in_t=weight_in.t().contiguous(),
        b_in=bias_in,
        gamma=gamma,
        beta=beta,
        w_out=weight_out,
        zeros=x.new_zeros(max(hidden, channels)),
        grad_x=grad_x,
        partial=partial,
    )
    total = partial.sum(0, dtype=torch.float64)[: sum(sizes)].to(x.dtype)
    w_in, w_out, b_in, b, g, b_out = (t.clone() for t in total.split(sizes))
    return Inputs(grad_x, w_in.view(channels, hidden).t().contiguous(), b_in, g, b, w_out.view(width, hidden), b_out)
