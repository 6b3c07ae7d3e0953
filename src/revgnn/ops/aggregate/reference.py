"""`aggregate` in plain torch: the definition that the tests compare every kernel with, and the path for devices without kernels.

It builds messages of E x C.
"""

from __future__ import annotations

import torch
from torch import Tensor

from revgnn.graph import Graph
from revgnn.ops.aggregate.reducers import Max, Mean, Power, Reducer, Softmax, Sum


def messages(x: Tensor, graph: Graph, edge_attr: Tensor | None, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    r"""Return $m_{ij} = \mathrm{relu}(x_j + A_{ij} W + b) + \epsilon$: (E, C), in destination order."""
    before = x[graph.src]
    if edge_attr is not None and weight is not None:
        # a matrix product takes one dtype; edge features may be stored in 16 bits
        before = before + edge_attr.to(weight.dtype) @ weight
    if bias is not None:
        before = before + bias
    return before.relu() + eps


def aggregate(
    x: Tensor,
    graph: Graph,
    edge_attr: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    how: Reducer = Max(),  # noqa: B008 (frozen)
    eps: float = 1e-7,
) -> Tensor:
    """See `revgnn.ops.aggregate`. Differentiable in all tensors, and in the temperature or exponent of `how`."""
    m = messages(x, graph, edge_attr, weight, bias, eps)
    match how:
        case Sum():
            return _sum(m, graph)
        case Mean():
            return _mean(m, graph)
        case Max():
            return _max(m, graph)
        case Softmax(t, semi_gradient):
            score = (t * m).detach() if semi_gradient else t * m
            peak = _amax(score.detach(), graph)
            raised = (score - peak[graph.dst]).exp()
            return _sum(m * raised, graph) / _filled(_sum(raised, graph), graph, 1.0)
        case Power(p, clamp, clamp_mean):
            m = m if clamp is None else m.clamp(*clamp)
            if clamp_mean is not None:
                return _mean(m**p, graph).clamp(*clamp_mean) ** (1 / p)
            return _filled(_mean(m**p, graph), graph, 1.0) ** (1 / p) * _occupied(graph, m.dtype)


def _occupied(graph: Graph, dtype: torch.dtype) -> Tensor:
    return (graph.in_degree > 0).to(dtype).unsqueeze(1)


def _filled(value: Tensor, graph: Graph, fill: float) -> Tensor:
    """Return `value` with `fill` at nodes that no edge reaches: what follows is then finite there, gradients included."""
    return torch.where((graph.in_degree > 0).unsqueeze(1), value, fill)


def _sum(m: Tensor, graph: Graph) -> Tensor:
    return m.new_zeros(graph.num_nodes, m.shape[1]).index_add(0, graph.dst, m)


def _mean(m: Tensor, graph: Graph) -> Tensor:
    return _sum(m, graph) / graph.in_degree.clamp(min=1).to(m.dtype).unsqueeze(1)


def _amax(m: Tensor, graph: Graph) -> Tensor:
    index = graph.dst.long().unsqueeze(1).expand_as(m)
    return m.new_zeros(graph.num_nodes, m.shape[1]).scatter_reduce(0, index, m, "amax", include_self=False)


def _max(m: Tensor, graph: Graph) -> Tensor:
    """Return the maximum, taken from the first edge that attains it (or is NaN), which gets the gradient."""
    if graph.num_edges == 0:
        return m.sum() + m.new_zeros(graph.num_nodes, m.shape[1])
    dst = graph.dst.long()
    value = m.detach()
    wins = (value == _amax(value, graph)[dst]) | value.isnan()
    position = torch.arange(graph.num_edges, device=m.device).unsqueeze(1).expand_as(m)
    position = position.where(wins, graph.num_edges)
    index = dst.unsqueeze(1).expand_as(m)
    none = position.new_full((graph.num_nodes, m.shape[1]), graph.num_edges)
    winner = none.scatter_reduce(0, index, position, "amin")
    return _filled(m.gather(0, winner.clamp(max=graph.num_edges - 1)), graph, 0.0)
