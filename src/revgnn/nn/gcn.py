"""The graph convolution of Kipf and Welling."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from revgnn.graph import Graph
from revgnn.nn.base import AbstractConv, refuse_options
from revgnn.nn.fusion import has_hooks
from revgnn.nn.linear import linear, mapped, reset_glorot
from revgnn.nn.neighbours import Adjacency, neighbours
from revgnn.ops import gcn
from revgnn.ops.dropout import draws_from_own
from revgnn.ops.propagate import propagate


@draws_from_own
class GCNConv(AbstractConv):
    r"""Graph convolution (Kipf and Welling 2017, arXiv:1609.02907).

    $X' = \tilde D^{-1/2} \tilde A \tilde D^{-1/2} X W + b, \qquad \tilde A = A + I$

    $A_{ij}$ is the weight of the edge $j \to i$, 1 without weights, and $\tilde D$ holds the sums of the weights into each node. A
    node that has a self-loop keeps it, with its weight, and gets no other; of several the last is kept. Without self-loops
    (`add_self_loops=False`) a node without incoming edges gets $b$, and counts as 0 in the sums of others.

    `improved=True` is $\tilde A = A + 2 I$. (PyTorch Geometric 2.8 ignores it without edge weights.)

    Shapes: x (N, C_in); edge weights (E,); returns (N, C_out). Learned: `lin.weight` (C_out, C_in), `bias` (C_out,).

    Args:
        in_channels: C_in, or -1 to take it from the first input.
        out_channels: C_out.
        improved: self-loops weigh 2.
        cached: accepted, and not needed: conversion, self-loops and degrees of a graph are remembered in any case. Another graph in
            a later call is used, where PyTorch Geometric goes on with the first.
        add_self_loops: default: as `normalize`.
        normalize: whether to add self-loops and multiply by $\tilde D^{-1/2}$ on both sides; otherwise $X' = A X W + b$.
        bias: whether there is a bias.
        options: PyTorch Geometric's further options, with their default values.

    Raises:
        ValueError: for self-loops without normalisation, a width below 1, or another value of a further option.
        TypeError: for an unknown option.
    """

    in_channels: int

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        improved: bool = False,
        cached: bool = False,
        add_self_loops: bool | None = None,
        normalize: bool = True,
        bias: bool = True,
        **options: Any,
    ) -> None:
        super().__init__()
        refuse_options("GCNConv", options, aggr="add")
        if add_self_loops and not normalize:
            raise ValueError(
                "GCNConv does not support adding self-loops without normalisation; use graph.with_self_loops(), or normalize=True."
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.improved = improved
        self.cached = cached
        self.add_self_loops = normalize if add_self_loops is None else add_self_loops
        self.normalize = normalize
        self.lin = linear(in_channels, out_channels, bias=False, glorot=True)
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot uniform weight (as the paper), zero bias."""
        reset_glorot(self.lin)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def output_parameters(self) -> list[Tensor]:
        return [self.lin.weight] if self.bias is None else [self.lin.weight, self.bias]

    def forward(self, x: Tensor, edge_index: Adjacency, edge_weight: Tensor | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Map (N, C_in) to (N, C_out).

        Args:
            x: (N, C_in).
            edge_index: the edges, see `AbstractConv`. Entries of a sparse matrix are edge weights.
            edge_weight: (E,) or (E, 1), floating point.

        Raises:
            TypeError: for an `edge_index` or `edge_weight` of another type.
            ValueError: for states of sources and destinations, for weights that do not fit, and for edges out of range.
        """
        if not isinstance(x, Tensor) or x.dim() != 2:
            got = f"shape {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(f"GCNConv takes x as one tensor (N, C), got {got}; SAGEConv and GATConv take (x_src, x_dst).")
        edges = neighbours(edge_index, x.shape[0])
        graph, weight = edges.graph, edges.weights(edge_weight)
        if self.add_self_loops:
            graph, weight = self._with_self_loops(graph, weight, x)
        is_plain = self.normalize and weight is None and type(self.lin) is nn.Linear and not has_hooks(self.lin)
        if is_plain and gcn.fits(x, graph, self.lin.weight, self.bias):
            return gcn.gcn(x, graph, self.lin.weight, self.bias)
        h = mapped(self.lin, x)
        if not self.normalize:
            h = propagate(h, graph, weight)
        else:
            scale = graph.inv_sqrt_degree(h.dtype) if weight is None else _inv_sqrt_sums(graph, weight, h)
            h = scale * propagate(scale * h, graph, weight)
        return h if self.bias is None else h + self.bias

    def _with_self_loops(self, graph: Graph, weight: Tensor | None, x: Tensor) -> tuple[Graph, Tensor | None]:
        looped, loops = graph.looped()
        if weight is None:
            if not self.improved:
                return looped, None
            weight = x.new_ones(graph.num_edges, dtype=torch.promote_types(x.dtype, torch.float32))
        of_new_loops = weight.new_full((1,), 2.0 if self.improved else 1.0)
        return looped, torch.cat([weight, of_new_loops]).index_select(0, loops.kept)

    def __repr__(self) -> str:
        return f"GCNConv({self.in_channels}, {self.out_channels})"


def _inv_sqrt_sums(graph: Graph, weight: Tensor, like: Tensor) -> Tensor:
    """Return one over the root of the sum of weights into each node, (N, 1): 0 for a sum of 0."""
    wide = torch.promote_types(like.dtype, torch.float32)
    sums = propagate(like.new_ones(graph.num_nodes, 1, dtype=wide), graph, weight)
    none = sums == 0
    return sums.masked_fill(none, 1.0).rsqrt().masked_fill(none, 0.0).to(like.dtype)
