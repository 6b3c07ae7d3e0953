"""The backward walk by destination, for edge features, which are stored in this order.

What all messages of a node share stays in registers. The gradient of x is scattered to the sources. A block has a part of the
destinations and a tile of channels, and each part has a gradient of x of its own, `partial_x`, so that an element has one writer
and one order of summation. If edge features want gradients, a block computes all tiles of its part, one after the other.

Softmax and power keep the messages of a few edges in cache and work on them in three short loops: compute the messages, replace
them by their gradients, scatter these. One loop would need more registers than there are.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from revgnn.kernels.cpu.arguments import Declared
from revgnn.kernels.cpu.blocks import CHUNK
from revgnn.kernels.cpu.kernel import read, size, write
from revgnn.kernels.cpu.simd import add, add_outer, add_rows, load, mul, repeat, store, total
from revgnn.ops.aggregate.contract import Inputs, Spec
from revgnn.ops.aggregate.cpu.message import STATE, Dtypes, message_arguments, tiles
from revgnn.ops.aggregate.cpu.passes import Found, Make, dtypes_of

GRAIN = 1 << 15
"""Fewest edges that are cut into parts."""


def by_destination_arguments(K: int, wants_weight: bool, wants_features: bool, dtypes: Dtypes) -> dict[str, Declared]:
    """Return the declarations of what every kernel of this walk takes.

    A block computes the tiles from its own on that are `step` channels apart. Rows of `partial_x` are `padded` channels wide.
    """
    return message_arguments(K, dtypes) | {
        "parts": size,
        "step": size,
        "padded": size,
        "grad": read(dtypes.state, STATE),
        "partial_x": write(dtypes.state, "parts * num_rows * padded"),
        "partial_weight": write(np.float64, f"parts * {K} * stride", optional=not wants_weight),
        "partial_bias": write(np.float64, "parts * stride"),
        "grad_features": write(dtypes.state, f"num_edges * {K}", optional=not wants_features),
    }


@njit(inline="always")
def scatter(gradient, e, partial_x, at, features, outer, encoder, grad_features, wants_weight, wants_features, C, K):
    """Add the gradient of a message to that of its source, from `partial_x[at]` on, and to that of its features.

    Returns `outer`, the gradient of the weight so far, with the message's added.
    """
    if wants_weight:
        outer = add_outer(outer, features, e * K, gradient)
    if wants_features:
        for k in range(K):
            grad_features[e * K + k] += total(mul(gradient, encoder[k]))
    store(partial_x, at, add(load(partial_x, at, C), gradient))
    return outer


@njit(inline="always")
def flush(outer, pending, partial_weight, at, stride, zero, K):
    """Add `outer` to `partial_weight` and set it to zero if it is the sum of CHUNK messages or more; `pending` counts them.

    Returns both.
    """
    if pending >= CHUNK:
        add_rows(partial_weight, at, stride, outer)
        outer, pending = repeat(zero, K), 0
    return outer, pending


def walk_by_destination(make: Make, grad: Tensor, inputs: Inputs, spec: Spec, *, has_slopes: bool = False, **own: Any) -> Found:
    """Return the gradients of x, edge features, weight and bias.

    Args:
        make: makes the kernel from the channels of a tile, K, whether weight and edge features want gradients, and dtypes.
        grad: of the aggregate.
        inputs, spec: of the operator.
        has_slopes: whether the kernel takes `slopes`, float64, one for each block.
        own: other arguments of this kernel beside those of every walk by destination.
    """
    x, features, weight, num_edges = inputs.x, inputs.edge_attr, inputs.weight, inputs.src.numel()
    assert x is not None
    assert features is not None
    assert weight is not None
    (num_nodes, channels), K = x.shape, features.shape[1]
    cut, dtypes = tiles(channels, K, 32), dtypes_of(x, features, inputs.src)
    parts = _num_parts(num_nodes, num_edges, sum(count for *_, count in cut))
    padded = -(-channels // 16) * 16
    partial_x = x.new_zeros(parts, num_nodes, padded)
    partial_weight = torch.zeros(parts, K, channels, dtype=torch.float64) if "weight" in spec.wanted else None
    partial_bias = torch.zeros(parts, channels, dtype=torch.float64)
    grad_features = torch.zeros_like(features) if "edge_attr" in spec.wanted else None
    bias = x.new_zeros(channels) if inputs.bias is None else inputs.bias
    found: list[float] = []
    for channel, lanes, count in cut:
        blocks, step = (parts * count, count * lanes) if grad_features is None else (parts, lanes)
        slopes = torch.zeros(blocks, dtype=torch.float64)
        make(lanes, K, partial_weight is not None, grad_features is not None, dtypes)(
            blocks,
            num_rows=num_nodes,
            num_edges=num_edges,
            stride=channels,
            channel=channel,
            tiles=count,
            parts=parts,
            step=step,
            padded=padded,
            eps=spec.eps,
            indptr=inputs.indptr,
            src=inputs.src,
            x=x,
            features=features,
            weight=weight,
            bias=bias,
            grad=grad,
            partial_x=partial_x,
            partial_weight=partial_weight,
            partial_bias=partial_bias,
            grad_features=grad_features,
            **own,
            **({"slopes": slopes} if has_slopes else {}),
        )
        if has_slopes:
            found.append(float(slopes.sum()))
    grad_x = partial_x[0] if parts == 1 else partial_x.sum(0)
    grad_weight = None if partial_weight is None else partial_weight.sum(0).to(x.dtype)
    return Found(grad_x[:, :channels].contiguous(), grad_features, grad_weight, partial_bias.sum(0).to(x.dtype), found)


def _num_parts(num_nodes: int, num_edges: int, num_tiles: int) -> int:
    """Return how many parts to cut the destinations into, a power of 2.

    Enough to keep some threads busy together with the tiles; but each part has a gradient of x of its own, whose rows it should
    visit a few times.
    """
    wanted = min(8 / num_tiles, num_edges / max(1, 12 * num_nodes))
    return 1 << max(0, int(math.log2(max(1.0, wanted, 2 / num_tiles)))) if num_edges >= GRAIN else 1
