"""`aggregate` on the GPU, forward and backward, without ever building messages.

There are no atomic operations: each row of a result has one writer, sums have one order, and the same input gives the same bits.
Long rows are split (`revgnn.kernels.gpu.split_rows`). The power mean is computed in float64 inside, all else in the dtype of x. A
learned parameter stays on the device: nothing waits for it.

A kernel needs a pointer also for a tensor that it does not read: it is given another tensor of the launch.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from revgnn.kernels.gpu.column_sums import column_sums
from revgnn.kernels.gpu.launch import launch, power_of_two
from revgnn.kernels.gpu.split_rows import Rows, add_parts
from revgnn.ops.aggregate.contract import Inputs, Saved, Spec
from revgnn.ops.aggregate.cpu.maximum import position_dtype
from revgnn.ops.aggregate.gpu import backward as backward_kernels
from revgnn.ops.aggregate.gpu import forward as forward_kernels
from revgnn.ops.aggregate.reducers import Max, Mean, Power, Reducer, Softmax, Sum
from revgnn.ops.operator import gradients

MANY = 2048
"""Elements of a tile of a kernel that has few registers for each."""


def forward(inputs: Inputs, spec: Spec) -> tuple[Tensor, Saved]:
    x = inputs.x
    assert x is not None
    rows = Rows(inputs.indptr, inputs.src.numel(), x.shape[1], elements=_elements(spec.how))
    out = torch.empty_like(x)
    message = {"src": inputs.src, "x": x, **_message(x, inputs, spec)}
    match spec.how:
        case Max():
            saved = _max_forward(rows, message, out, inputs, spec)
        case Sum() | Mean():
            saved = _sum_forward(rows, message, out, spec)
        case Softmax():
            saved = _softmax_forward(rows, message, out, inputs, spec)
        case Power():
            saved = _power_forward(rows, message, out, inputs, spec)
    return (x + out if spec.residual else out), saved


def _max_forward(rows: Rows, message: dict[str, Any], out: Tensor, inputs: Inputs, spec: Spec) -> Saved:
    channels, save, position = out.shape[1], bool(spec.wanted), position_dtype(inputs.src)
    winner = torch.empty_like(out, dtype=position) if save else out.new_empty(0, dtype=position)
    parts: dict[str, Any] = {"part": rows.scratch(out.dtype, channels), "part_winner": rows.scratch(torch.int64, channels)}
    rows.run(forward_kernels.max_forward, **message, **parts, out=out, winner=winner, SAVE=save)
    rows.finish(forward_kernels.max_finish, **parts, out=out, winner=winner, C=channels, EPS=spec.eps, SAVE=save)
    return Saved(winner=winner if save else None)


def _sum_forward(rows: Rows, message: dict[str, Any], out: Tensor, spec: Spec) -> Saved:
    part, mean = rows.scratch(out.dtype, out.shape[1]), isinstance(spec.how, Mean)
    rows.run(forward_kernels.sum_forward, **message, out=out, part=part, MEAN=mean)
    rows.finish(forward_kernels.sum_finish, part=part, out=out, C=out.shape[1], EPS=spec.eps, MEAN=mean)
    return Saved()


def _softmax_forward(rows: Rows, message: dict[str, Any], out: Tensor, inputs: Inputs, spec: Spec) -> Saved:
    channels, peaks, scales = out.shape[1], torch.empty_like(out), torch.empty_like(out)
    parts: dict[str, Any] = {name: rows.scratch(out.dtype, channels) for name in ("part", "part_peak", "part_mass")}
    results: dict[str, Any] = {"parameter": _parameter(inputs, spec), "out": out, "peaks": peaks, "scales": scales}
    rows.run(forward_kernels.softmax_forward, **message, **parts, **results)
    rows.finish(forward_kernels.softmax_finish, **parts, **results, C=channels)
    return Saved(out=out, peaks=peaks, scales=scales)


def _power_forward(rows: Rows, message: dict[str, Any], out: Tensor, inputs: Inputs, spec: Spec) -> Saved:
    channels, remainder = out.shape[1], torch.empty_like(out)
    common = {
        "part": rows.scratch(torch.float64, channels),
        "out": out,
        "remainder": remainder,
        "parameter": _parameter(inputs, spec),
    }
    rows.run(forward_kernels.power_forward, **message, **common, **_limits(spec.how))
    rows.finish(forward_kernels.power_finish, **common, C=channels)
    return Saved(out=out, remainder=remainder)


# --- backward --------------------------------------------------------------------------------------------------------------------


def backward(grad: Tensor, inputs: Inputs, saved: Saved, spec: Spec) -> Inputs:
    features, weight = inputs.edge_attr, inputs.weight
    assert inputs.source_indptr is not None
    # a maximum reads few gradients, the others compute each message again
    elements = MANY if isinstance(spec.how, Max) else _elements(spec.how)
    rows = Rows(inputs.source_indptr, inputs.src.numel(), grad.shape[1], elements=elements)
    parameter = grad if spec.how.parameter is None else _parameter(inputs, spec)
    arriving, node_slope = _factored(grad, parameter, inputs, saved) if isinstance(spec.how, Power) else (grad, None)
    common = _gradient_arguments(arriving, parameter, inputs, saved, spec)
    grad_x, slope = _grad_x(rows, torch.empty_like(grad), common, spec)
    grad_features = grad_weight = grad_parameter = None
    if features is not None and "edge_attr" in spec.wanted:
        grad_features = _grad_features(rows, features, common)
    if features is not None and weight is not None and "weight" in spec.wanted:
        grad_weight = _grad_weight(features, weight, common, inputs.src, spec.how)
    if slope is not None:
        grad_parameter = slope if node_slope is None else (node_slope / parameter + slope / parameter).reshape(())
    return gradients(
        Inputs,
        x=grad + grad_x if spec.residual else grad_x,
        edge_attr=grad_features,
        weight=grad_weight,
        # every edge has one source: the bias receives the sum of what the rows receive
        bias=column_sums(grad_x) if "bias" in spec.wanted else None,
        parameter=grad_parameter,
    )


def _factored(grad: Tensor, p: Tensor, inputs: Inputs, saved: Saved) -> tuple[Tensor, Tensor]:
    """Return what all edges into a node share in the backward pass of the power mean, in float64.

    The gradient times these factors; and p times the part of the exponent's gradient that is a sum over nodes.
    """
    assert saved.out is not None
    assert saved.remainder is not None
    out, grad = saved.out.double() + saved.remainder, grad.double()
    slope = -(grad * torch.special.xlogy(out, out)).sum()
    degree = inputs.indptr.diff().clamp(min=1).unsqueeze(1)
    return torch.where(out > 0, grad * out ** (1 - p) / degree, 0.0), slope


def _gradient_arguments(grad: Tensor, parameter: Tensor, inputs: Inputs, saved: Saved, spec: Spec) -> dict[str, Any]:
    """Return the arguments that all kernels take that compute gradients of messages."""
    x = grad if inputs.x is None else inputs.x
    return {
        "dst": inputs.source_dst,
        "edge": inputs.source_edge,
        "x": x,
        "parameter": parameter,
        "destination_indptr": inputs.indptr,
        "grad": grad,
        "out": grad if saved.out is None else saved.out,
        "winner": grad if saved.winner is None else saved.winner,
        "peaks": grad if saved.peaks is None else saved.peaks,
        "scales": grad if saved.scales is None else saved.scales,
        "REDUCER": spec.how.name,
        **_message(x, inputs, spec),
        **_limits(spec.how),
    }


def _grad_x(rows: Rows, grad_x: Tensor, common: dict[str, Any], spec: Spec) -> tuple[Tensor, Tensor | None]:
    """Fill in `grad_x`. Returns it, and the sum over edges in the gradient of the temperature or exponent, float64 ()."""
    has_slope = isinstance(spec.how, Power) or (isinstance(spec.how, Softmax) and not spec.how.semi_gradient)
    slopes = grad_x.new_empty(rows.num_programs if has_slope else 0, dtype=torch.float64)
    part = rows.scratch(grad_x.dtype, grad_x.shape[1])
    rows.run(backward_kernels.grad_x_by_source, **common, grad_x=grad_x, part=part, slopes=slopes, SLOPE=has_slope)
    rows.finish(add_parts, scratch=part, out=grad_x, C=grad_x.shape[1])
    return grad_x, slopes.sum() if has_slope else None


def _grad_features(rows: Rows, features: Tensor, common: dict[str, Any]) -> Tensor:
    grad_features = torch.empty_like(features)
    if grad_features.numel():
        columns = power_of_two(features.shape[1])
        rows.run(backward_kernels.grad_edges_by_source, steps=1, **common, grad_a=grad_features, BLOCK_K=columns)
    return grad_features


def _grad_weight(features: Tensor, weight: Tensor, common: dict[str, Any], src: Tensor, how: Reducer) -> Tensor:
    """Return the gradient of the weight: for max from the winners, else from all messages."""
    K, channels = weight.shape
    if K == 0:
        return torch.zeros_like(weight)
    wide, deep = min(64, power_of_two(channels)), min(8, power_of_two(K))
    grad, winner = common["grad"], common["winner"]
    num_terms = len(grad) if isinstance(how, Max) else src.numel()
    programs = max(1, min(1024, num_terms // 256))
    grid, partial = (programs, math.ceil(channels / wide), math.ceil(K / deep)), weight.new_empty(programs, K, channels)
    shape: dict[str, Any] = {"BLOCK_K": deep, "BLOCK_C": wide}
    if isinstance(how, Max):
        launch(
            backward_kernels.grad_weight_of_max, grid, grad, 4, winner=winner, grad=grad, a=features, partial=partial,
            num_rows=num_terms, C=channels, K=K, BLOCK_R=16, **shape,
        )  # fmt: skip
    else:
        launch(
            backward_kernels.grad_weight, grid, grad, 4, src=src, partial=partial, num_edges=num_terms, BLOCK_E=16,
            **common, **shape,
        )  # fmt: skip
    return column_sums(partial)


# --- arguments of kernels --------------------------------------------------------------------------------------------------------


def _elements(how: Reducer) -> int:
    return 256 if isinstance(how, Power) else 512


def _message(x: Tensor, inputs: Inputs, spec: Spec) -> dict[str, Any]:
    """Return the edge features, their map, and the settings of the kernels that compute messages."""
    features, weight, bias = inputs.edge_attr, inputs.weight, inputs.bias
    return {
        "a": x if features is None else features,
        "w": x if weight is None else weight,
        "b": x if bias is None else bias,
        "C": x.shape[1],
        "K": 0 if features is None else features.shape[1],
        "BIAS": bias is not None,
        "EPS": spec.eps,
    }


def _limits(how: Reducer) -> dict[str, Any]:
    """Return the settings of the kernels that clamp messages."""
    low, high = how.limits
    none = math.isinf(low) and math.isinf(high)
    return {"CLAMP": not none, "LOW": 0.0 if none else low, "HIGH": 0.0 if none else high}


def _parameter(inputs: Inputs, spec: Spec) -> Tensor:
    """Return the temperature or exponent, float64 (1,), on the device, without waiting for it."""
    if inputs.parameter is not None:
        return inputs.parameter.reshape(1)
    number = spec.how.parameter
    assert isinstance(number, float | int)
    return torch.full((1,), number, dtype=torch.float64, device=inputs.src.device)
