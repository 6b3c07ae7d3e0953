"""GraphSAGE's convolution as one node of the autograd graph: aggregation along the edges and both linear maps.

Each product is added in place to what is there, in the value and in the gradient of the state, so that nothing of N x C is written
only to be added; and what stands between operators is saved: argument checks, and a node of the autograd graph for each. `SAGEConv`
takes this path where `fits` allows it, and otherwise the operators.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from revgnn.graph import Graph
from revgnn.ops.propagate import gather
from revgnn.ops.propagate.gather import Gather
from revgnn.ops.sparse_features import Entries, entries_of, product, weight_gradient


class Maps(NamedTuple):
    """Of neighbours (C_out, C_in), the bias (C_out,) or None, and of the node's own state (C_out, C_in)."""

    neighbours: Tensor
    bias: Tensor | None
    own: Tensor


def fits(x: Tensor, graph: Graph, maps: Maps) -> bool:
    """Whether `sage` takes these tensors; see `gather.fits`."""
    out_channels, in_channels = maps.neighbours.shape
    wanted: list[tuple[Tensor, tuple[int, ...]]] = [
        (x, (graph.num_nodes, in_channels)),
        (maps.neighbours, (out_channels, in_channels)),
        (maps.own, (out_channels, in_channels)),
    ]
    if maps.bias is not None:
        wanted.append((maps.bias, (out_channels,)))
    return gather.fits(x, graph, wanted)


def sage(x: Tensor, graph: Graph, maps: Maps, *, mean: bool) -> Tensor:
    r"""Return $\mathrm{AGG}_{j \to i}\, W_l x_j + b + W_r x_i$ of tensors that `fits` accepts; differentiable once in all of them.

    The narrower state moves along the edges: $x_j$, or $W_l x_j$ if that has fewer channels.

    Args:
        x: (N, C_in).
        mean: whether the sum over neighbours is divided by their number.

    Returns:
        (N, C_out), dtype of `x`.
    """
    return _SAGE.apply(Gather.of(graph, mean=mean), entries_of(x, maps.own), x, *maps)


class _SAGE(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, along: Gather, entries: Entries | None, x: Tensor, neighbours: Tensor, bias: Tensor | None, own: Tensor
    ) -> Tensor:
        ctx.along, ctx.entries = along, entries
        if _maps_first(neighbours):
            out, gathered = along.forward(product(x, entries, neighbours)), None
            out = out if bias is None else out.add_(bias)
        else:
            gathered = along.forward(x)
            out = gathered @ neighbours.t() if bias is None else torch.addmm(bias, gathered, neighbours.t())
        ctx.save_for_backward(x, gathered, neighbours, own)
        return out.addmm_(x, own.t()) if entries is None else out.add_(entries.product(own))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        along, entries = ctx.along, ctx.entries
        x, gathered, neighbours, own = ctx.saved_tensors
        *_, wants_x, wants_neighbours, wants_bias, wants_own = ctx.needs_input_grad
        grad_x = grad_neighbours = None
        if _maps_first(neighbours):
            if wants_x or wants_neighbours:
                back = along.backward(grad)
                grad_neighbours = weight_gradient(back, x, entries) if wants_neighbours else None
                grad_x = back @ neighbours if wants_x else None
        else:
            grad_neighbours = grad.t() @ gathered if wants_neighbours else None
            grad_x = along.backward(grad @ neighbours) if wants_x else None
        if grad_x is not None:
            grad_x.addmm_(grad, own)
        grad_own = weight_gradient(grad, x, entries) if wants_own else None
        return None, None, grad_x, grad_neighbours, grad.sum(0) if wants_bias else None, grad_own


def _maps_first(neighbours: Tensor) -> bool:
    """Whether states are mapped before they move along the edges: if that makes them narrower."""
    return neighbours.shape[0] < neighbours.shape[1]
