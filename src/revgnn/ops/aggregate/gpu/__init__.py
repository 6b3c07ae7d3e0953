"""`aggregate` on the GPU, forward and backward, without ever building messages: Triton kernels with the contract of the CPU's.

There are no atomic operations: each row of a result has one writer, sums have one order, and the same input gives the same bits.
Long rows are split (`revgnn.kernels.gpu.split_rows`). The power mean is computed in float64 inside, all else in the dtype of x.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from revgnn.kernels.cpu.launch import position_dtype
from revgnn.kernels.gpu.split_rows import Split, Tile, add_parts, launch, power_of_two
from revgnn.ops.aggregate.gpu import backward as backward_kernels
from revgnn.ops.aggregate.gpu import forward as forward_kernels


def forward(
    x: Tensor,
    indptr: Tensor,
    src: Tensor,
    edge_attr: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    kind: str,
    param: float | Tensor,
    eps: float,
    clamp: tuple[float, float],
    save: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """As on the CPU. `param` may also be a float64 tensor of shape () on the device, which is then not waited for."""
    num_nodes, channels = x.shape
    split, tile = Split.of(num_nodes, src.numel()), Tile.of(channels, 512 if kind == "power" else 1024)
    out = torch.empty_like(x)
    first, second = x.new_empty(0), x.new_empty(0)
    grid, finish = (num_nodes + split.blocks, tile.steps), (split.blocks, tile.steps)
    sizes = (num_nodes, split.blocks, channels)
    shape = {"SIZE": split.size, "BLOCK_E": tile.edges, "BLOCK_C": tile.channels}
    message, inputs = _message(edge_attr, bias, eps), (indptr, src, x, *_tensors(x, edge_attr, weight, bias))
    part = split.scratch(x, channels, dtype=torch.float64 if kind == "power" else x.dtype)
    if kind == "max":
        first = x.new_empty(out.shape if save else (0,), dtype=position_dtype(src))
        winners, saves = split.scratch(x, channels, dtype=torch.int64), {"SAVE": save}
        launch(
            forward_kernels.max_forward,
            grid,
            x,
            tile.warps,
            *inputs,
            out,
            first,
            part,
            winners,
            *sizes,
            **message,
            **saves,
            **shape,
        )
        launch(
            forward_kernels.max_finish, finish, x, tile.warps, indptr, part, winners, out, first, *sizes, EPS=eps, **saves, **shape
        )
    elif kind in ("sum", "mean"):
        mean = {"MEAN": kind == "mean"}
        launch(forward_kernels.sum_forward, grid, x, tile.warps, *inputs, out, part, *sizes, **message, **mean, **shape)
        launch(forward_kernels.sum_finish, finish, x, tile.warps, indptr, part, out, *sizes, EPS=eps, **mean, **shape)
    elif kind == "power":
        first, number = torch.empty_like(x), _number(param, x)
        limits = _limits(clamp)
        launch(
            forward_kernels.power_forward,
            grid,
            x,
            tile.warps,
            *inputs,
            number,
            out,
            first,
            part,
            *sizes,
            **message,
            **limits,
            **shape,
        )
        launch(forward_kernels.power_finish, finish, x, tile.warps, indptr, part, number, out, first, *sizes, **shape)
    else:
        first, second = torch.empty_like(x), torch.empty_like(x)
        saved, parts = (out, first, second), (part, torch.empty_like(part), torch.empty_like(part))
        launch(
            forward_kernels.softmax_forward,
            grid,
            x,
            tile.warps,
            *inputs,
            _number(param, x),
            *saved,
            *parts,
            *sizes,
            **message,
            **shape,
        )
        launch(forward_kernels.softmax_finish, finish, x, tile.warps, indptr, *parts, *saved, *sizes, **shape)
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
    param: float | Tensor,
    eps: float,
    clamp: tuple[float, float],
    wants_weight: bool,
    wants_edges: bool,
) -> tuple[Tensor, Tensor, Tensor, float | Tensor]:
    """As on the CPU, except that `by_source` is wanted for max too. The gradient of the temperature or exponent is a float64 tensor
    of shape (), or 0.0 where there is none."""
    num_nodes, channels = grad.shape
    dtype = grad.dtype
    out, first, second = saved
    if kind == "max":
        second = first  # the kernels look for winners where other kinds have their scales
    number = _number(param, grad) if kind.startswith(("softmax", "power")) else grad
    dparam: float | Tensor = 0.0
    if kind == "power":  # what is the same for all edges of a node
        wide, grad = out.double() + first, grad.double()
        dparam = -(grad * torch.special.xlogy(wide, wide)).sum() / number
        degree = indptr.diff().clamp(min=1).unsqueeze(1)
        grad = torch.where(wide > 0, grad * wide ** (1 - number) / degree, 0.0)
    slope = kind in ("softmax", "power")
    split, tile = Split.of(num_nodes, src.numel()), Tile.of(channels, 512 if kind == "power" else 1024)
    grid = (num_nodes + split.blocks, tile.steps)
    grad_x, grad_w, grad_a = torch.empty_like(grad, dtype=dtype), grad.new_empty(0, dtype=dtype), grad.new_empty(0, dtype=dtype)
    part = split.scratch(grad_x, channels)
    slopes = grad.new_empty(grid[0] * grid[1] if slope else 0, dtype=torch.float64)
    message = {**_message(edge_attr, bias, eps), **_limits(clamp), "KIND": kind}
    inputs = (x, *_tensors(x, edge_attr, weight, bias), number, indptr, grad, out, first, second)
    sizes, shape = (num_nodes, split.blocks, channels), {"SIZE": split.size, "BLOCK_E": tile.edges, "BLOCK_C": tile.channels}
    launch(
        backward_kernels.grad_x_by_source, grid, grad, tile.warps, *by_source, *inputs, grad_x, part, slopes, *sizes,
        SLOPE=slope, **message, **shape,
    )  # fmt: skip
    launch(add_parts, (split.blocks, tile.steps), grad, tile.warps, by_source[0], part, grad_x, *sizes, **shape)
    if slope:
        dparam = dparam + slopes.sum() / (number if kind == "power" else 1.0)
    if edge_attr is not None and weight is not None and wants_edges:
        grad_a = torch.empty_like(edge_attr)
        if grad_a.numel():
            launch(
                backward_kernels.grad_edges_by_source, (num_nodes + split.blocks, 1), grad, tile.warps, *by_source, *inputs,
                grad_a, *sizes, BLOCK_K=power_of_two(edge_attr.shape[1]), **message, **shape,
            )  # fmt: skip
    if edge_attr is not None and weight is not None and wants_weight:
        grad_w = _grad_weight(weight, num_nodes, src, by_source, grad, edge_attr, second, inputs, message)
    return grad_x, grad_w, grad_a, dparam.reshape(()) if isinstance(dparam, Tensor) else dparam


def _grad_weight(
    weight: Tensor,
    num_nodes: int,
    src: Tensor,
    by_source: tuple[Tensor, ...],
    grad: Tensor,
    edge_attr: Tensor,
    winner: Tensor,
    inputs: tuple[Tensor, ...],
    message: dict[str, Any],
) -> Tensor:
    K, channels = weight.shape
    wide, deep = min(64, power_of_two(channels)), min(8, power_of_two(K))
    if K == 0:
        return torch.zeros_like(weight)
    walked = num_nodes if message["KIND"] == "max" else src.numel()
    programs = max(1, min(1024, walked // 256))
    partial = weight.new_empty(programs, K, channels)
    grid = (programs, math.ceil(channels / wide), math.ceil(K / deep))
    shape = {"K": K, "BLOCK_K": deep, "BLOCK_C": wide}
    if message["KIND"] == "max":
        launch(
            backward_kernels.grad_weight_of_max, grid, grad, 4, winner, grad, edge_attr, partial, num_nodes, channels,
            BLOCK_R=16, **shape,
        )  # fmt: skip
    else:
        launch(
            backward_kernels.grad_weight, grid, grad, 4, *by_source[1:], src, *inputs, partial, src.numel(), channels,
            BLOCK_E=16, **(message | shape),
        )  # fmt: skip
    return partial.sum(0, dtype=torch.float64).to(weight.dtype)


def _message(edge_attr: Tensor | None, bias: Tensor | None, eps: float) -> dict[str, Any]:
    return {"K": 0 if edge_attr is None else edge_attr.shape[1], "BIAS": bias is not None, "EPS": eps}


def _limits(clamp: tuple[float, float]) -> dict[str, Any]:
    low, high = clamp
    none = math.isinf(low) and math.isinf(high)
    return {"CLAMP": not none, "LOW": 0.0 if none else low, "HIGH": 0.0 if none else high}


def _tensors(x: Tensor, *tensors: Tensor | None) -> list[Tensor]:
    """A pointer is wanted where a kernel reads nothing, too."""
    return [x if t is None else t for t in tensors]


def _number(param: float | Tensor, like: Tensor) -> Tensor:
    """On the device, without waiting for it."""
    if isinstance(param, Tensor):
        return param.to(torch.float64).reshape(1)
    return torch.full((1,), param, dtype=torch.float64, device=like.device)
