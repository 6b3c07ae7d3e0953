"""`aggregate` on the GPU, forward and backward, without ever building messages.

There are no atomic operations: each row of a result has one writer, sums have one order, and the same input gives the same bits.
Long rows are split (`revgnn.kernels.gpu.split_rows`). The power mean is computed in float64 inside, all else in the dtype of x. A
learned parameter stays on the device: nothing waits for it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from revgnn.kernels.gpu.split_rows import Split, Tile, add_parts, launch, power_of_two
from revgnn.ops.aggregate.contract import Inputs, Saved, Spec
from revgnn.ops.aggregate.gpu import backward as backward_kernels
from revgnn.ops.aggregate.gpu import forward as forward_kernels
from revgnn.ops.aggregate.reducers import Max, Mean, Power, Reducer, Softmax, Sum


class _Grid:
    """The shape of the launches over the rows of a graph: one program a row or a block of a split row, and channel tile."""

    def __init__(self, like: Tensor, num_edges: int, how: Reducer) -> None:
        self.num_nodes, self.channels = like.shape
        self.like = like
        self.split = Split.of(self.num_nodes, num_edges)
        self.tile = Tile.of(self.channels, 512 if isinstance(how, Power) else 1024)
        self.sizes = (self.num_nodes, self.split.blocks, self.channels)
        self.shape = {"SIZE": self.split.size, "BLOCK_E": self.tile.edges, "BLOCK_C": self.tile.channels}

    @property
    def programs(self) -> tuple[int, int]:
        return self.num_nodes + self.split.blocks, self.tile.steps

    def run(self, kernel: Any, *arguments: Any, **constants: Any) -> None:
        """Run a kernel over rows and blocks."""
        launch(kernel, self.programs, self.like, self.tile.warps, *arguments, *self.sizes, **constants, **self.shape)

    def finish(self, kernel: Any, *arguments: Any, **constants: Any) -> None:
        """Run the kernel that combines the parts of split rows."""
        grid = (self.split.blocks, self.tile.steps)
        launch(kernel, grid, self.like, self.tile.warps, *arguments, *self.sizes, **constants, **self.shape)

    def scratch(self, dtype: torch.dtype | None = None) -> Tensor:
        return self.split.scratch(self.like, self.channels, dtype=dtype)


def forward(inputs: Inputs, spec: Spec) -> tuple[Tensor, Saved]:
    x, indptr = inputs.x, inputs.indptr
    assert x is not None
    grid, out = _Grid(x, inputs.src.numel(), spec.how), torch.empty_like(x)
    message = _message_constants(inputs, spec)
    tensors = (indptr, inputs.src, x, *_pointers(x, inputs.edge_attr, inputs.weight, inputs.bias))
    part = grid.scratch(torch.float64 if isinstance(spec.how, Power) else x.dtype)
    match spec.how:
        case Max():
            position = torch.int32 if inputs.src.numel() < 2**31 else torch.int64
            winner = x.new_empty(x.shape if spec.wanted else (0,), dtype=position)
            winners, save = grid.scratch(torch.int64), {"SAVE": bool(spec.wanted)}
            grid.run(forward_kernels.max_forward, *tensors, out, winner, part, winners, **message, **save)
            grid.finish(forward_kernels.max_finish, indptr, part, winners, out, winner, EPS=spec.eps, **save)
            saved = Saved(winner=winner if spec.wanted else None)
        case Sum() | Mean():
            mean = {"MEAN": spec.how.form.mean}
            grid.run(forward_kernels.sum_forward, *tensors, out, part, **message, **mean)
            grid.finish(forward_kernels.sum_finish, indptr, part, out, EPS=spec.eps, **mean)
            saved = Saved()
        case Power():
            remainder, number = torch.empty_like(x), _parameter(inputs, spec, x)
            limits = _limit_constants(spec)
            grid.run(forward_kernels.power_forward, *tensors, number, out, remainder, part, **message, **limits)
            grid.finish(forward_kernels.power_finish, indptr, part, number, out, remainder)
            saved = Saved(out=out, remainder=remainder)
        case Softmax():
            peaks, scales = torch.empty_like(x), torch.empty_like(x)
            results, parts = (out, peaks, scales), (part, torch.empty_like(part), torch.empty_like(part))
            grid.run(forward_kernels.softmax_forward, *tensors, _parameter(inputs, spec, x), *results, *parts, **message)
            grid.finish(forward_kernels.softmax_finish, indptr, *parts, *results)
            saved = Saved(out=out, peaks=peaks, scales=scales)
    return (x + out if spec.residual else out), saved


def backward(grad: Tensor, inputs: Inputs, saved: Saved, spec: Spec) -> Inputs:
    how, dtype, upstream = spec.how, grad.dtype, grad
    by_source: tuple[Any, ...] = (inputs.source_indptr, inputs.source_dst, inputs.source_edge)
    has_parameter = isinstance(how, Softmax | Power)
    number = _parameter(inputs, spec, grad) if has_parameter else grad
    grad_parameter: Tensor | None = None
    if isinstance(how, Power):  # factors that all edges into a node share
        assert saved.out is not None
        assert saved.remainder is not None
        wide, grad = saved.out.double() + saved.remainder, grad.double()
        grad_parameter = -(grad * torch.special.xlogy(wide, wide)).sum() / number
        degree = inputs.indptr.diff().clamp(min=1).unsqueeze(1)
        grad = torch.where(wide > 0, grad * wide ** (1 - number) / degree, 0.0)
    has_slope = isinstance(how, Power) or (isinstance(how, Softmax) and not how.semi_gradient)
    grid = _Grid(grad, inputs.src.numel(), how)
    grad_x = torch.empty_like(grad, dtype=dtype)
    slopes = grad.new_empty(grid.programs[0] * grid.programs[1] if has_slope else 0, dtype=torch.float64)
    part = grid.split.scratch(grad_x, grid.channels)
    x = grad if inputs.x is None else inputs.x
    message = {**_message_constants(inputs, spec), **_limit_constants(spec), "KIND": str(how)}
    # the kernels expect the winners of max where softmax has its scales
    first = _first(saved.peaks, saved.remainder, saved.winner, grad)
    scales = _first(saved.scales, saved.winner, first)
    out = _first(saved.out, grad)
    encoded = _pointers(x, inputs.edge_attr, inputs.weight, inputs.bias)
    tensors = (x, *encoded, number, inputs.indptr, grad, out, first, scales)
    grid.run(backward_kernels.grad_x_by_source, *by_source, *tensors, grad_x, part, slopes, SLOPE=has_slope, **message)
    grid.finish(add_parts, by_source[0], part, grad_x)
    if has_slope:
        slope = slopes.sum() / (number if isinstance(how, Power) else 1.0)
        grad_parameter = slope if grad_parameter is None else grad_parameter + slope
    grad_weight = grad_features = None
    features, weight = inputs.edge_attr, inputs.weight
    if features is not None and "edge_attr" in spec.wanted:
        grad_features = torch.empty_like(features)
        if grad_features.numel():
            launch(
                backward_kernels.grad_edges_by_source, (grid.programs[0], 1), grad, grid.tile.warps, *by_source, *tensors,
                grad_features, *grid.sizes, BLOCK_K=power_of_two(features.shape[1]), **message, **grid.shape,
            )  # fmt: skip
    if features is not None and weight is not None and "weight" in spec.wanted:
        grad_weight = _grad_weight(weight, grid.num_nodes, inputs.src, by_source, grad, features, scales, tensors, message)
    grad_bias = grad_x.sum(0)  # every edge has one source: the bias receives the sum of what the rows receive
    if spec.residual:
        grad_x = upstream + grad_x
    grad_parameter = None if grad_parameter is None else grad_parameter.reshape(())
    return Inputs(
        grad_x, grad_features, grad_weight, grad_bias, grad_parameter, None, None, None, None, None  # pyright: ignore[reportArgumentType]
    )  # fmt: skip


def _first(*tensors: Tensor | None) -> Tensor:
    """Return the first tensor that is not None."""
    return next(t for t in tensors if t is not None)


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


def _message_constants(inputs: Inputs, spec: Spec) -> dict[str, Any]:
    """Constants of the kernels that compute messages."""
    K = 0 if inputs.edge_attr is None else inputs.edge_attr.shape[1]
    return {"K": K, "BIAS": inputs.bias is not None, "EPS": spec.eps}


def _limit_constants(spec: Spec) -> dict[str, Any]:
    """Constants of the kernels that clamp messages."""
    low, high = spec.how.limits
    none = math.isinf(low) and math.isinf(high)
    return {"CLAMP": not none, "LOW": 0.0 if none else low, "HIGH": 0.0 if none else high}


def _pointers(x: Tensor, *tensors: Tensor | None) -> list[Tensor]:
    """Return the tensors, with `x` in place of those that a kernel does not read: a pointer is needed all the same."""
    return [x if t is None else t for t in tensors]


def _parameter(inputs: Inputs, spec: Spec, like: Tensor) -> Tensor:
    """Return the temperature or exponent, float64 (1,), on the device, without waiting for it."""
    parameter = spec.how.parameter if inputs.parameter is None else inputs.parameter
    if isinstance(parameter, Tensor):
        return parameter.to(torch.float64).reshape(1)
    return torch.full((1,), parameter, dtype=torch.float64, device=like.device)
