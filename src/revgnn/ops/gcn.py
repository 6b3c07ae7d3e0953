"""The graph convolution of Kipf and Welling as one node of the autograd graph: linear map, scaling by degrees, sums, bias.

States are scaled in place, and what stands between operators is saved: argument checks, and a node of the autograd graph for each.
`GCNConv` takes this path where `fits` allows it, with the same bits as the operators, which it takes otherwise.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from revgnn.graph import Graph
from revgnn.ops.propagate import gather
from revgnn.ops.propagate.gather import Gather
from revgnn.ops.sparse_features import Entries, entries_of, product, weight_gradient


def fits(x: Tensor, graph: Graph, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether `gcn` takes these tensors; see `gather.fits`."""
    out_channels, in_channels = weight.shape
    wanted: list[tuple[Tensor, tuple[int, ...]]] = [(x, (graph.num_nodes, in_channels)), (weight, (out_channels, in_channels))]
    if bias is not None:
        wanted.append((bias, (out_channels,)))
    return gather.fits(x, graph, wanted)


def gcn(x: Tensor, graph: Graph, weight: Tensor, bias: Tensor | None) -> Tensor:
    r"""Return $D^{-1/2} A D^{-1/2} X W^T + b$ of tensors that `fits` accepts; differentiable once in all of them.

    Args:
        x: (N, C_in).
        graph: $A$; D are its in-degrees, and a node without incoming edges counts as 0.
        weight: (C_out, C_in).
        bias: (C_out,), or None.

    Returns:
        (N, C_out), dtype of `x`.
    """
    along, scale = Gather.of(graph, mean=False), graph.inv_sqrt_degree(x.dtype)
    return _GCN.apply(along, entries_of(x, weight), scale, x, weight, bias)


class _GCN(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, along: Gather, entries: Entries | None, scale: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None
    ) -> Tensor:
        ctx.along, ctx.entries = along, entries
        ctx.save_for_backward(scale, x, weight)
        out = along.forward(product(x, entries, weight).mul_(scale)).mul_(scale)
        return out if bias is None else out.add_(bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        scale, x, weight = ctx.saved_tensors
        *_, wants_x, wants_weight, wants_bias = ctx.needs_input_grad
        grad_x = grad_weight = None
        if wants_x or wants_weight:
            back = ctx.along.backward(grad * scale).mul_(scale)
            grad_weight = weight_gradient(back, x, ctx.entries) if wants_weight else None
            grad_x = back @ weight if wants_x else None
        return None, None, None, grad_x, grad_weight, grad.sum(0) if wants_bias else None
