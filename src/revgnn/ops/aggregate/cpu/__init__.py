"""`aggregate` on the CPU, forward and backward, without ever building messages.

Every kernel is made by a factory that fixes the number of channels in a tile, the number of edge features and the dtypes, so that
accumulators are kept in registers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from revgnn.kernels.cpu.elements import ELEMENTS
from revgnn.kernels.cpu.kernel import Kernel, num_blocks
from revgnn.kernels.cpu.simd import REGISTERS
from revgnn.ops.aggregate.contract import Inputs, Saved, Spec
from revgnn.ops.aggregate.cpu.backward import backward_by_destination, backward_by_source, max_backward_edges, max_backward_x
from revgnn.ops.aggregate.cpu.forward import LN_2, max_forward, power_forward, softmax_forward, sum_forward
from revgnn.ops.aggregate.reducers import Max, Mean, Power, Softmax, Sum

STORED_16_BIT = (torch.int16, torch.float16, torch.bfloat16)
"""Dtypes of edge features that kernels read as they are stored."""

GRAIN = 1 << 15
"""Fewest edges that are cut into parts."""


def tiles(channels: int, features: int, widest: int = 128) -> list[tuple[int, int, int]]:
    """Cut channels into tiles: `(first channel, lanes of a tile, number of tiles)`, whole tiles and then what is left.

    The width is the largest at which the weights of a tile, features x lanes, fit half of the vector registers.
    """
    lanes = max(16, min(widest, 16 * (REGISTERS // 2 // features) if features else widest) // 16 * 16)
    whole = channels // lanes
    cut = [(0, lanes, whole), (whole * lanes, channels % lanes, 1)]
    return [(first, width, count) for first, width, count in cut if width and count]


def position_dtype(src: Tensor) -> torch.dtype:
    """Return the dtype that counts the edges of `src`."""
    return torch.int32 if src.numel() < 2**31 else torch.int64


def forward(inputs: Inputs, spec: Spec) -> tuple[Tensor, Saved]:
    x = inputs.x
    assert x is not None
    features = inputs.edge_attr
    K = 0 if features is None else features.shape[1]
    dtype, index = ELEMENTS[x.dtype], ELEMENTS[inputs.src.dtype]
    stored = dtype if features is None else ELEMENTS[features.dtype]
    out = torch.empty_like(x)
    make: Callable[[int], Kernel]
    match spec.how:
        case Max():
            position = position_dtype(inputs.src)
            winner = torch.empty_like(x, dtype=position) if spec.wanted else None
            saved, extra = Saved(winner=winner), {"winner": winner}
            make = lambda lanes: max_forward(  # noqa: E731
                lanes, K, winner is not None, spec.residual, dtype, stored, index, ELEMENTS[position]
            )
        case Sum() | Mean():
            saved, extra = Saved(), {}
            make = lambda lanes: sum_forward(lanes, K, spec.how.form.mean, dtype, stored, index)  # noqa: E731
        case Softmax():
            saved = Saved(out=out, peaks=torch.empty_like(x), scales=torch.empty_like(x))
            extra = {"temperature": _value(inputs, spec), "peaks": saved.peaks, "scales": saved.scales}
            make = lambda lanes: softmax_forward(lanes, K, dtype, stored, index)  # noqa: E731
        case Power():
            saved, (low, high) = Saved(out=out, remainder=torch.empty_like(x)), spec.how.limits
            extra = {"exponent": _value(inputs, spec), "low": low, "high": high, "remainder": saved.remainder}
            make = lambda lanes: power_forward(lanes, K, dtype, stored, index)  # noqa: E731
    _over_tiles(inputs, spec, x, K, make, out, extra)
    if spec.residual and not isinstance(spec.how, Max):  # the kernel of max adds x itself
        return x + out, saved
    return out, saved


def _over_tiles(
    inputs: Inputs, spec: Spec, x: Tensor, K: int, make: Callable[[int], Kernel], out: Tensor, extra: dict[str, Any]
) -> None:
    """Run a forward kernel over all tiles of the channels."""
    num_nodes, channels = x.shape
    num_edges = inputs.src.numel()
    bias = x.new_zeros(channels) if inputs.bias is None else inputs.bias
    for channel, lanes, count in tiles(channels, K):
        make(lanes)(
            num_blocks(num_edges + num_nodes),
            num_rows=num_nodes,
            num_edges=num_edges,
            stride=channels,
            channel=channel,
            tiles=count,
            eps=spec.eps,
            indptr=inputs.indptr,
            src=inputs.src,
            x=x,
            features=inputs.edge_attr,
            weight=inputs.weight,
            bias=bias,
            out=out,
            **extra,
        )


def backward(grad: Tensor, inputs: Inputs, saved: Saved, spec: Spec) -> Inputs:
    if isinstance(spec.how, Max):
        return _backward_max(grad, inputs, saved, spec)
    features, weight = inputs.edge_attr, inputs.weight
    if features is not None and weight is not None and features.shape[1]:
        grad_x, grad_weight, grad_features, slope = _backward_by_destination(grad, inputs, saved, spec)
    else:
        grad_x, slope = _backward_by_source(grad, inputs, saved, spec)
        grad_weight, grad_features = (None if t is None else torch.zeros_like(t) for t in (weight, features))
    grad_bias = grad_x.sum(0)  # every edge has one source: the bias receives the sum of what the rows receive
    if isinstance(spec.how, Power):
        slope /= _value(inputs, spec)
    grad_parameter = torch.full((), slope, dtype=torch.float64)
    if spec.residual:
        grad_x = grad + grad_x
    return _gradients(grad_x, grad_features, grad_weight, grad_bias, grad_parameter)


def _gradients(x: Tensor, edge_attr: Tensor | None, weight: Tensor | None, bias: Tensor, parameter: Tensor | None) -> Inputs:
    return Inputs(x, edge_attr, weight, bias, parameter, None, None, None, None, None)  # pyright: ignore[reportArgumentType]


def _value(inputs: Inputs, spec: Spec) -> float:
    """Return the temperature or exponent."""
    return float(spec.how.parameter if inputs.parameter is None else inputs.parameter)


def _backward_by_destination(
    grad: Tensor, inputs: Inputs, saved: Saved, spec: Spec
) -> tuple[Tensor, Tensor | None, Tensor | None, float]:
    """Gradients of x, weight and edge features, and the sum that the gradient of the parameter is made of."""
    x, features, weight, src = inputs.x, inputs.edge_attr, inputs.weight, inputs.src
    assert x is not None
    assert features is not None
    assert weight is not None
    (num_nodes, channels), K = x.shape, features.shape[1]
    wants_weight, wants_features = "weight" in spec.wanted, "edge_attr" in spec.wanted
    cut = tiles(channels, K, widest=32)
    parts = _num_parts(num_nodes, src.numel(), sum(count for *_, count in cut))
    padded = -(-channels // 16) * 16
    partial_x = x.new_zeros(parts, num_nodes, padded)
    partial_w = torch.zeros(parts, K, channels, dtype=torch.float64) if wants_weight else None
    grad_features = torch.zeros_like(features) if wants_features else None
    bias = x.new_zeros(channels) if inputs.bias is None else inputs.bias
    low, high = spec.how.limits
    slope = 0.0
    for channel, lanes, count in cut:
        # one block takes all tiles if edge features want gradients, else each tile has blocks of its own
        blocks, step = (parts, lanes) if wants_features else (parts * count, count * lanes)
        partial_parameter = torch.zeros(blocks, dtype=torch.float64)
        run = backward_by_destination(
            lanes, K, spec.how.form, wants_weight, wants_features, ELEMENTS[x.dtype], ELEMENTS[features.dtype], ELEMENTS[src.dtype]
        )
        run(
            blocks,
            num_rows=num_nodes,
            num_edges=src.numel(),
            stride=channels,
            channel=channel,
            tiles=count,
            parts=parts,
            step=step,
            padded=padded,
            eps=spec.eps,
            parameter=_value(inputs, spec),
            low=low,
            high=high,
            indptr=inputs.indptr,
            src=src,
            x=x,
            features=features,
            weight=weight,
            bias=bias,
            grad=grad,
            out=saved.out,
            peaks_or_remainder=saved.peaks if isinstance(spec.how, Softmax) else saved.remainder,
            scales=saved.scales,
            partial_x=partial_x,
            partial_w=partial_w,
            partial_parameter=partial_parameter,
            grad_features=grad_features,
        )
        # the kernel's logarithms are to base 2
        slope += float(partial_parameter.sum()) * (LN_2 if spec.how.form.power else 1.0)
    grad_x = partial_x[0] if parts == 1 else partial_x.sum(0)
    grad_weight = None if partial_w is None else partial_w.sum(0).to(x.dtype)
    return grad_x[:, :channels].contiguous(), grad_weight, grad_features, slope


def _num_parts(num_nodes: int, num_edges: int, num_tiles: int) -> int:
    """Return how many parts to cut the destinations into, a power of 2.

    Enough to keep some threads busy together with the tiles; but each part has a gradient of x of its own, whose rows it should
    visit a few times.
    """
    wanted = min(8 / num_tiles, num_edges / max(1, 12 * num_nodes))
    return 1 << max(0, int(math.log2(max(1.0, wanted, 2 / num_tiles)))) if num_edges >= GRAIN else 1


def _backward_by_source(grad: Tensor, inputs: Inputs, saved: Saved, spec: Spec) -> tuple[Tensor, float]:
    """Gradient of x, and the sum that the gradient of the parameter is made of, without edge features."""
    x, dst, form = inputs.x, inputs.source_dst, spec.how.form
    assert x is not None
    assert dst is not None
    num_nodes, channels = x.shape
    value, (low, high), slope = _value(inputs, spec), spec.how.limits, 0.0
    if form.power:  # factors that all edges into a node share
        assert saved.out is not None
        assert saved.remainder is not None
        wide, grad = saved.out.double() + saved.remainder, grad.double()
        slope = -float((grad * torch.special.xlogy(wide, wide)).sum())
        grad = torch.where(wide > 0, grad * wide ** (1 - value) / inputs.indptr.diff().clamp(min=1).unsqueeze(1), 0.0)
    elif form.softmax:
        assert saved.scales is not None
        grad = grad * saved.scales
    grad_x = torch.empty_like(x)
    bias = x.new_zeros(channels) if inputs.bias is None else inputs.bias
    blocks = num_blocks(dst.numel() + num_nodes, most=64)
    for channel, lanes, count in tiles(channels, 0, widest=32 if form.softmax or form.power else 128):
        partial_parameter = torch.zeros(blocks, dtype=torch.float64)
        backward_by_source(lanes, form, ELEMENTS[x.dtype], ELEMENTS[dst.dtype])(
            blocks,
            num_rows=num_nodes,
            num_edges=dst.numel(),
            stride=channels,
            channel=channel,
            tiles=count,
            eps=spec.eps,
            parameter=value,
            low=low,
            high=high,
            indptr=inputs.source_indptr,
            dst=dst,
            x=x,
            bias=bias,
            grad=grad,
            out=saved.out,
            peaks=saved.peaks,
            destination_indptr=inputs.indptr,
            grad_x=grad_x,
            partial_parameter=partial_parameter,
        )
        slope += float(partial_parameter.sum())
    return grad_x, slope


def _backward_max(grad: Tensor, inputs: Inputs, saved: Saved, spec: Spec) -> Inputs:
    winner, src, features, weight = saved.winner, inputs.src, inputs.edge_attr, inputs.weight
    assert winner is not None
    num_nodes, channels = grad.shape
    dtype, position = ELEMENTS[grad.dtype], ELEMENTS[winner.dtype]
    grad_x = torch.empty_like(grad)
    width = 16 if channels >= 32 else 8  # 16 float32 are a cache line, which two threads then seldom share
    max_backward_x(spec.residual, dtype, ELEMENTS[src.dtype], position)(
        -(-channels // width),
        num_rows=num_nodes,
        num_edges=src.numel(),
        channels=channels,
        width=width,
        winner=winner,
        grad=grad,
        src=src,
        grad_x=grad_x,
    )
    wants_features = "edge_attr" in spec.wanted
    if features is None or weight is None or not (wants_features or "weight" in spec.wanted):
        grad_bias = torch.where(winner >= 0, grad, 0.0).sum(0) if spec.residual else grad_x.sum(0)
        return _gradients(grad_x, None, None, grad_bias, None)
    K = features.shape[1]
    blocks = num_blocks(grad.numel(), most=64)
    partial = grad.new_zeros(blocks, channels, K, dtype=torch.float64)
    partial_bias = grad.new_zeros(blocks, channels, dtype=torch.float64)
    grad_features = torch.zeros_like(features) if wants_features else None
    max_backward_edges(K, wants_features, dtype, ELEMENTS[features.dtype], position)(
        blocks,
        num_rows=num_nodes,
        channels=channels,
        winner=winner,
        grad=grad,
        features=features,
        weight_t=weight.t().contiguous(),
        partial=partial,
        partial_bias=partial_bias,
        grad_features=grad_features,
    )
    grad_weight = partial.sum(0).t().to(grad.dtype).contiguous() if "weight" in spec.wanted else None
    return _gradients(grad_x, grad_features, grad_weight, partial_bias.sum(0).to(grad.dtype), None)
