"""The backward walk by source, without edge features.

A message then depends on its source alone, so it is computed once for all edges that leave the source, and each row of the gradient
of x has one writer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from revgnn.kernels.cpu.arguments import Declared
from revgnn.kernels.cpu.kernel import num_blocks, number, read, size, write
from revgnn.kernels.cpu.simd import add_rows, repeat, store
from revgnn.ops.aggregate.contract import Inputs, Spec
from revgnn.ops.aggregate.cpu.message import STATE, Dtypes, tiles
from revgnn.ops.aggregate.cpu.passes import Found, Make, dtypes_of


def by_source_arguments(dtypes: Dtypes, grad: Any = None) -> dict[str, Declared]:
    """Return the declarations of what all kernels of this walk take; `grad` is the dtype of the gradient, None for the state's."""
    return {
        "num_rows": size,
        "num_edges": size,
        "stride": size,
        "channel": size,
        "tiles": size,
        "eps": number,
        "indptr": read(np.int64, "num_rows + 1"),
        "dst": read(dtypes.index, "num_edges"),
        "x": read(dtypes.state, STATE),
        "bias": read(dtypes.state, "stride"),
        "grad": read(dtypes.state if grad is None else grad, STATE),
        "grad_x": write(dtypes.state, STATE),
        "partial_bias": write(np.float64, "blocks * stride"),
    }


@njit(inline="always")
def store_row(gradient, j, c, block, stride, grad_x, partial_bias):
    """Write channels from c on of the gradient of row j, and add them to the sum of the block's rows: every edge has one source, so
    the bias receives the sum of what the rows receive."""
    store(grad_x, j * stride + c, gradient)
    add_rows(partial_bias, block * stride + c, stride, repeat(gradient, 1))


def walk_by_source(
    make: Make, grad: Tensor, inputs: Inputs, spec: Spec, *, widest: int, has_slopes: bool = False, **own: Any
) -> Found:
    """Return the gradients of x and bias. Edge features without columns and their weight get gradients without elements.

    Args:
        make: makes the kernel from the channels of a tile, and dtypes.
        grad: of the aggregate, with the factors that all edges into a node share.
        inputs, spec: of the operator.
        widest: channels of a tile at most.
        has_slopes: whether the kernel takes `slopes`, float64, one for each block.
        own: other arguments of this kernel beside those of every walk by source.
    """
    x, dst = inputs.x, inputs.source_dst
    assert x is not None
    assert dst is not None
    (num_nodes, channels), grad_x = x.shape, torch.empty_like(x)
    bias = x.new_zeros(channels) if inputs.bias is None else inputs.bias
    dtypes, blocks = dtypes_of(x, None, dst), num_blocks(dst.numel() + num_nodes, most=64)
    partial_bias = torch.zeros(blocks, channels, dtype=torch.float64)
    found: list[float] = []
    for channel, lanes, count in tiles(channels, 0, widest):
        slopes = torch.zeros(blocks, dtype=torch.float64)
        make(lanes, dtypes)(
            blocks,
            num_rows=num_nodes,
            num_edges=dst.numel(),
            stride=channels,
            channel=channel,
            tiles=count,
            eps=spec.eps,
            indptr=inputs.source_indptr,
            dst=dst,
            x=x,
            bias=bias,
            grad=grad,
            grad_x=grad_x,
            partial_bias=partial_bias,
            **own,
            **({"slopes": slopes} if has_slopes else {}),
        )
        if has_slopes:
            found.append(float(slopes.sum()))
    grad_features, grad_weight = (None if t is None else torch.zeros_like(t) for t in (inputs.edge_attr, inputs.weight))
    return Found(grad_x, grad_features, grad_weight, partial_bias.sum(0).to(x.dtype), found)
