"""What the passes of sum, mean, softmax and power have in common. Those of max differ: see `maximum.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from revgnn.kernels.cpu.elements import ELEMENTS
from revgnn.kernels.cpu.kernel import Kernel, num_blocks
from revgnn.ops.aggregate.contract import Inputs, Spec
from revgnn.ops.aggregate.cpu.message import Dtypes, tiles
from revgnn.ops.operator import gradients

Make = Callable[..., Kernel]
"""The factory of a kernel, called with the channels of a tile and what else the pass fixes."""


class Found(NamedTuple):
    """What a walk over the edges finds.

    Attributes:
        x, edge_attr, weight, bias: gradients, without that of the residual; None if not wanted.
        slopes: parts of the sum in the gradient of the temperature or exponent, one for each launch; empty if there is none.
    """

    x: Tensor
    edge_attr: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    slopes: list[float]


def dtypes_of(x: Tensor, features: Tensor | None, index: Tensor) -> Dtypes:
    """Return the dtypes that a kernel is compiled for: those of the state, the edge features and the positions that it reads."""
    return Dtypes(ELEMENTS[x.dtype], ELEMENTS[x.dtype if features is None else features.dtype], ELEMENTS[index.dtype])


def num_features(inputs: Inputs) -> int:
    """Return K, 0 without edge features."""
    return 0 if inputs.edge_attr is None else inputs.edge_attr.shape[1]


def parameter_of(inputs: Inputs, spec: Spec) -> float:
    """Return the temperature or exponent."""
    parameter = spec.how.parameter if inputs.parameter is None else inputs.parameter
    assert parameter is not None
    return float(parameter)


def forward_pass(make: Make, inputs: Inputs, spec: Spec, **own: Any) -> Tensor:
    """Return what a forward kernel writes to `out`, (N, C).

    Args:
        make: makes the kernel from the channels of a tile, K, and dtypes.
        inputs, spec: of the operator.
        own: arguments of this kernel beside those of every message, and `out`.
    """
    x = inputs.x
    assert x is not None
    (num_nodes, channels), num_edges, out = x.shape, inputs.src.numel(), torch.empty_like(x)
    bias = x.new_zeros(channels) if inputs.bias is None else inputs.bias
    K, dtypes = num_features(inputs), dtypes_of(x, inputs.edge_attr, inputs.src)
    for channel, lanes, count in tiles(channels, K):
        make(lanes, K, dtypes)(
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
            **own,
        )
    return out


def with_residual(inputs: Inputs, spec: Spec, out: Tensor) -> Tensor:
    """Return the result of the operator from the aggregate."""
    assert inputs.x is not None
    return inputs.x + out if spec.residual else out


def gradients_of(grad: Tensor, found: Found, spec: Spec, parameter: float | None = None) -> Inputs:
    """Return all gradients of the operator from what a walk found, and the gradient of the temperature or exponent."""
    return gradients(
        Inputs,
        x=grad + found.x if spec.residual else found.x,
        edge_attr=found.edge_attr,
        weight=found.weight,
        bias=found.bias,
        parameter=None if parameter is None else torch.full((), parameter, dtype=torch.float64),
    )


def add_in_order(start: float, terms: list[float]) -> float:
    """Return `start` plus the terms, added one by one: the result of `sum` differs between versions of Python."""
    for term in terms:
        start += term
    return start
