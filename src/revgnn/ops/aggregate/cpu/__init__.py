"""`aggregate` on the CPU, forward and backward, without ever building messages: numba kernels on explicit vectors.

Every kernel is made by a factory that fixes the number of channels in a tile, the number of edge features and the dtypes,
so that accumulators live in registers. Each reads its record in the order in which `forward` and `backward` write it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from revgnn.kernels.cpu.launch import NUMPY, constants, num_blocks, or_nothing, position_dtype, run
from revgnn.ops.aggregate.cpu.backward import backward_by_destination, backward_by_source, max_backward_edges, max_backward_x
from revgnn.ops.aggregate.cpu.forward import LN_2, max_forward, power_forward, softmax_forward, sum_forward
from revgnn.ops.aggregate.cpu.message import tiles

STORED = {torch.int16: np.int16, torch.float16: np.int8, torch.bfloat16: np.uint16}
"""What kernels know 16-bit edge features as; see `revgnn.kernels.cpu.simd.vector.LLVM`."""

GRAIN = 1 << 15
"""Edges that are not worth cutting into parts."""

_CODED = {**NUMPY, **STORED}


def _stored_as(edge_attr: Tensor | None, x: Tensor) -> Any:
    return _CODED[x.dtype if edge_attr is None else edge_attr.dtype]


def forward(
    x: Tensor,
    indptr: Tensor,
    src: Tensor,
    edge_attr: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    kind: str,
    param: float,
    eps: float,
    clamp: tuple[float, float],
    save: bool,
    residual: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """`out` and what the backward pass needs of it: winners for max (only if `save`), peaks and scales for softmax, what rounding
    took from `out` for power. Arguments are checked by the caller; `residual`, `x` added to `out`, goes with max alone."""
    num_nodes, channels = x.shape
    dtype, coded, index = NUMPY[x.dtype], _stored_as(edge_attr, x), NUMPY[src.dtype]
    K = 0 if edge_attr is None else edge_attr.shape[1]
    out = torch.empty_like(x)
    first, second = x.new_empty(0), x.new_empty(0)
    make: Callable[[int], Any]
    if kind == "max":
        first = x.new_empty(out.shape if save else (0,), dtype=position_dtype(src))
        make = lambda lanes: max_forward(lanes, K, save, residual, dtype, coded, index, NUMPY[first.dtype])  # noqa: E731
    elif kind in ("sum", "mean"):
        make = lambda lanes: sum_forward(lanes, K, kind == "mean", dtype, coded, index)  # noqa: E731
    elif kind == "power":
        first = torch.empty_like(x)
        make = lambda lanes: power_forward(lanes, K, dtype, coded, index)  # noqa: E731
    else:
        first, second = torch.empty_like(x), torch.empty_like(x)
        make = lambda lanes: softmax_forward(lanes, K, dtype, coded, index)  # noqa: E731
    bias = x.new_zeros(channels) if bias is None else bias
    numbers = constants(x.dtype, eps), constants(torch.float64, param), constants(x.dtype, *clamp)
    for channel, lanes, count in tiles(channels, K):
        run(
            make(lanes), num_blocks(src.numel() + num_nodes), num_nodes, channels, channel, count, indptr, src, x,
            or_nothing(edge_attr), or_nothing(weight), bias, numbers[0], out, first, second, *numbers[1:],
        )  # fmt: skip
    return out, first, second


def backward(
    grad: Tensor,
    x: Tensor,
    indptr: Tensor,
    src: Tensor,
    by_source: tuple[Tensor, ...],
    edge_attr: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    saved: tuple[Tensor, ...],
    kind: str,
    param: float,
    eps: float,
    clamp: tuple[float, float],
    wants_weight: bool,
    wants_edges: bool,
    residual: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
    """Gradients of x, weight, bias and edge features (empty where not wanted or absent), and of the temperature or exponent."""
    if kind == "max":
        return (*_backward_max(grad, src, edge_attr, weight, saved[1], wants_weight, wants_edges, residual), 0.0)
    if edge_attr is not None and weight is not None and edge_attr.shape[1]:
        grad_x, grad_w, grad_a, dparam = _backward_by_destination(
            grad, x, indptr, src, edge_attr, weight, bias, saved, kind, param, eps, clamp, wants_weight, wants_edges
        )
    else:
        grad_x, dparam = _backward_by_source(grad, x, indptr, by_source, bias, saved, kind, param, eps, clamp)
        grad_w, grad_a = (x.new_empty(0) if t is None else torch.zeros_like(t) for t in (weight, edge_attr))
    grad_b = grad_x.sum(0)  # every edge has one source: the bias sees the sum of what the rows see
    return grad_x, grad_w, grad_b, grad_a, dparam / param if kind == "power" else dparam


def _backward_by_destination(
    grad: Tensor,
    x: Tensor,
    indptr: Tensor,
    src: Tensor,
    edge_attr: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    saved: tuple[Tensor, ...],
    kind: str,
    param: float,
    eps: float,
    clamp: tuple[float, float],
    wants_weight: bool,
    wants_edges: bool,
) -> tuple[Tensor, Tensor, Tensor, float]:
    (num_nodes, channels), K = x.shape, edge_attr.shape[1]
    dtype, coded, index = NUMPY[x.dtype], _stored_as(edge_attr, x), NUMPY[src.dtype]
    cut = tiles(channels, K, widest=32)
    parts = _parts(num_nodes, src.numel(), sum(count for *_, count in cut))
    padded = -(-channels // 16) * 16
    partial_x = x.new_zeros(parts, num_nodes, padded)
    partial_w = torch.zeros(parts if wants_weight else 0, K, channels, dtype=torch.float64)
    grad_a = torch.zeros_like(edge_attr) if wants_edges else x.new_empty(0)
    bias = x.new_zeros(channels) if bias is None else bias
    numbers = constants(x.dtype, eps), constants(torch.float64, param), constants(x.dtype, *clamp)
    dparam = 0.0
    for channel, lanes, count in cut:
        # one block takes all tiles where edge features want gradients, else each has its own
        blocks, step = (parts, lanes) if wants_edges else (parts * count, count * lanes)
        partial_t = torch.zeros(blocks, dtype=torch.float64)
        run(
            backward_by_destination(lanes, K, kind, wants_weight, wants_edges, dtype, coded, index), blocks, num_nodes, channels,
            channel, count, parts, step, indptr, src, x, edge_attr, weight, bias, *numbers, grad, *saved, partial_x, padded,
            partial_w, partial_t, grad_a,
        )  # fmt: skip
        # logarithms were those to base 2
        dparam += float(partial_t.sum()) * (LN_2 if kind == "power" else 1.0)
    grad_x = partial_x[0] if parts == 1 else partial_x.sum(0)
    grad_w = partial_w.sum(0).to(x.dtype) if wants_weight else x.new_empty(0)
    return grad_x[:, :channels].contiguous(), grad_w, grad_a, dparam


def _parts(num_nodes: int, num_edges: int, tiles: int) -> int:
    """How many parts to cut the destinations into, a power of 2: enough to keep some threads busy, there being `tiles` tiles,
    but each has a gradient of x of its own, whose rows it should come upon a few times."""
    wanted = min(8 / tiles, num_edges / max(1, 12 * num_nodes))
    return 1 << max(0, int(math.log2(max(1.0, wanted, 2 / tiles)))) if num_edges >= GRAIN else 1


def _backward_by_source(
    grad: Tensor,
    x: Tensor,
    indptr: Tensor,
    by_source: tuple[Tensor, ...],
    bias: Tensor | None,
    saved: tuple[Tensor, ...],
    kind: str,
    param: float,
    eps: float,
    clamp: tuple[float, float],
) -> tuple[Tensor, float]:
    num_nodes, channels = x.shape
    out, first, second = saved
    dparam = 0.0
    if kind == "power":  # what is the same for all edges of a node
        wide, grad = out.double() + first, grad.double()
        dparam = -float((grad * torch.special.xlogy(wide, wide)).sum())
        grad = torch.where(wide > 0, grad * wide ** (1 - param) / indptr.diff().clamp(min=1).unsqueeze(1), 0.0)
    elif kind not in ("sum", "mean"):
        grad = grad * second
    source_indptr, dst, _ = by_source
    grad_x = torch.empty_like(x)
    bias = x.new_zeros(channels) if bias is None else bias
    numbers = constants(x.dtype, eps), constants(torch.float64, param), constants(x.dtype, *clamp)
    blocks = num_blocks(dst.numel() + num_nodes, most=64)
    for channel, lanes, count in tiles(channels, 0, widest=128 if kind in ("sum", "mean") else 32):
        partial_t = torch.zeros(blocks, dtype=torch.float64)
        run(
            backward_by_source(lanes, kind, NUMPY[x.dtype], NUMPY[dst.dtype]), blocks, num_nodes, channels, channel, count,
            source_indptr, dst, x, bias, *numbers, grad, out, first, grad_x, partial_t, indptr,
        )  # fmt: skip
        dparam += float(partial_t.sum())
    return grad_x, dparam


def _backward_max(
    grad: Tensor,
    src: Tensor,
    edge_attr: Tensor | None,
    weight: Tensor | None,
    winner: Tensor,
    wants_weight: bool,
    wants_edges: bool,
    residual: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    num_nodes, channels = grad.shape
    dtype, index, position = NUMPY[grad.dtype], NUMPY[src.dtype], NUMPY[winner.dtype]
    grad_x, grad_w, grad_a = torch.empty_like(grad), grad.new_empty(0), grad.new_empty(0)
    width = 16 if channels >= 32 else 8  # 16 float32 are a cache line: two threads seldom share one
    scatter = max_backward_x(residual, dtype, index, position)
    run(scatter, -(-channels // width), num_nodes, channels, width, winner, grad, src, grad_x)
    if edge_attr is not None and weight is not None and (wants_weight or wants_edges):
        K = edge_attr.shape[1]
        blocks = num_blocks(grad.numel(), most=64)
        partial, partial_b = (
            grad.new_zeros(blocks, channels, K, dtype=torch.float64),
            grad.new_zeros(blocks, channels, dtype=torch.float64),
        )
        if wants_edges:
            grad_a = torch.zeros_like(edge_attr)
        compiled = max_backward_edges(K, wants_edges, dtype, _stored_as(edge_attr, grad), position)
        run(compiled, blocks, num_nodes, channels, winner, grad, edge_attr, weight.t().contiguous(), partial, partial_b, grad_a)
        if wants_weight:
            grad_w = partial.sum(0).t().to(grad.dtype).contiguous()
        grad_b = partial_b.sum(0).to(grad.dtype)
    else:
        grad_b = torch.where(winner >= 0, grad, 0.0).sum(0) if residual else grad_x.sum(0)
    return grad_x, grad_w, grad_b, grad_a
