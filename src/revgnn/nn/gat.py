"""Graph attention, and the variant that RevGAT uses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.utils import scatter

from revgnn.graph import Graph
from revgnn.graph.self_loops import SelfLoops
from revgnn.nn.base import AbstractConv, check_rate, refuse_options
from revgnn.nn.linear import linear, mapped, reset_glorot, weight_for
from revgnn.nn.neighbours import Adjacency, Neighbours, bipartite_neighbours, first_rows, integer_scale, padded, pair
from revgnn.ops.dropout import draws_from_own, dropout, generator_for
from revgnn.ops.edge_softmax import edge_softmax
from revgnn.ops.permutation import permutation
from revgnn.ops.propagate import propagate

_FILLS = ("mean", "add", "sum", "min", "max", "mul")
"""Reductions of the edge features into a node that its self-loop can get."""


@draws_from_own
class GATConv(AbstractConv):
    r"""Graph attention (Veličković et al. 2018, arXiv:1710.10903, eqs. 3 to 6), for each of H heads:

    $h = W x$

    $s_{ij} = \mathrm{LeakyReLU}(a_{src} \cdot h_j + a_{dst} \cdot h_i + a_{edge} \cdot W_e A_{ij})$

    $\alpha_{ij} = \mathrm{softmax}_j(s_{ij})$, with dropout in training

    $x_i' = \sum_{j \to i} \alpha_{ij} h_j + R x_i + b$, heads side by side (`concat`) or averaged

    The attention vector of the paper is $[a_{dst}, a_{src}]$. The term of the edge features $A$ and the map $R$ are PyTorch
    Geometric's; the paper's nonlinearity is left to the block. $a_{edge} \cdot W_e$ is one map of K features to H scores, so that
    nothing of E x C is built. The paper's neighbourhoods include the node itself: each node gets one self-loop in place of those it
    has. The edge features of the loop follow from `fill_value`. Without self-loops a node without incoming edges gets $R x_i + b$.

    RevGAT (Li et al. 2021, arXiv:2106.07476) on ogbn-arxiv uses `destination=False`, which drops $a_{dst}$, and `symmetric=True`:
    with out-degrees $d_j$ and in-degrees $d_i$, $h_j$ becomes $d_j^{-1/2} h_j$ in the source term of the score and in the sum, and
    the sum is multiplied by $d_i^{1/2}$. Where the weights of a node are equal, $\alpha_{ij} = 1 / d_i$, this is
    $D^{-1/2} A D^{-1/2}$.

    Edge dropout removes a share of the edges, self-loops included, from softmax and sum in training, the same for all heads: the
    first floor(rate E) of a random permutation. A node that loses all its edges gets $R x_i + b$; degrees stay those of the whole
    graph.

    Dropout draws E x H numbers in each call, from the generator of the block inside a stack, else from torch's global one. The
    permutation is drawn from it too, unless the call has an `edge_seed`: blocks that are given the same seed remove the same edges.

    Shapes: x (N, C_in), or sources and destinations, (N_src, C_src) and (N_dst, C_dst); edge features (E, K); returns (N_dst, H C),
    averaged (N_dst, C). If N_src < N_dst, the states of the sources are copied into N_dst rows.
    Learned: `lin.weight` (H C, C_in), or `lin_src.weight` and `lin_dst.weight` if C_src and C_dst are given; `att_src`, `att_dst`
    and `att_edge` (1, H, C); `lin_edge.weight` (H C, K); `res.weight` and `bias`.

    Args:
        in_channels: C_in, or (C_src, C_dst); -1 to take a width from the first input.
        out_channels: C, channels of one head.
        heads: H.
        concat: heads side by side, H C channels; else averaged, C channels.
        negative_slope: of the LeakyReLU.
        dropout: share of the attention weights set to 0 in training.
        add_self_loops: whether each node is a neighbour of itself.
        edge_dim: K, or None without edge features; -1 to take it from the first input.
        fill_value: edge features of self-loops: "mean", "add", "min", "max" or "mul" of those of the other edges into the node, a
            number, or a tensor (K,).
        bias: whether there is a bias.
        residual: whether there is a linear map R.
        edge_dropout: share of the edges removed in training.
        destination: whether the score has the destination term.
        symmetric: RevGAT's normalisation.
        options: PyTorch Geometric's further options, with their default values.

    Raises:
        ValueError: for a rate outside [0, 1), a width or number of heads below 1, or another value of a further option.
        TypeError: for an unknown option.
    """

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        heads: int = 1,
        concat: bool = True,
        negative_slope: float = 0.2,
        dropout: float = 0.0,
        add_self_loops: bool = True,
        edge_dim: int | None = None,
        fill_value: float | Tensor | str = "mean",
        bias: bool = True,
        residual: bool = False,
        *,
        edge_dropout: float = 0.0,
        destination: bool = True,
        symmetric: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        refuse_options("GATConv", options, aggr="add")
        check_rate("dropout", dropout)
        check_rate("edge_dropout", edge_dropout)
        if heads < 1:
            raise ValueError(f"heads must be 1 or more, got {heads}.")
        if isinstance(fill_value, str) and fill_value not in _FILLS:
            raise ValueError(f"fill_value must be one of {', '.join(_FILLS)}, a number or a tensor, got {fill_value!r}.")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.heads = heads
        self.concat = concat
        self.negative_slope = negative_slope
        self.dropout = dropout
        self.add_self_loops = add_self_loops
        self.edge_dim = edge_dim
        self.fill_value = fill_value
        self.residual = residual
        self.edge_dropout = edge_dropout
        self.symmetric = symmetric
        width, total = heads * out_channels, heads * out_channels if concat else out_channels
        self.lin = self.lin_src = self.lin_dst = None
        if isinstance(in_channels, int):
            self.lin = linear(in_channels, width, bias=False, glorot=True)
        else:
            self.lin_src, self.lin_dst = [linear(channels, width, bias=False, glorot=True) for channels in in_channels]
        self.att_src = nn.Parameter(torch.empty(1, heads, out_channels))
        self.att_dst = nn.Parameter(torch.empty(1, heads, out_channels)) if destination else None
        self.lin_edge = None if edge_dim is None else linear(edge_dim, width, bias=False, glorot=True)
        self.att_edge = None if edge_dim is None else nn.Parameter(torch.empty(1, heads, out_channels))
        of_residual = in_channels if isinstance(in_channels, int) else in_channels[1]
        self.res = linear(of_residual, total, bias=False, glorot=True) if residual else None
        self.bias = nn.Parameter(torch.empty(total)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot uniform maps and attention vectors (as the paper), zero bias."""
        for layer in (self.lin, self.lin_src, self.lin_dst):
            if layer is not None:
                reset_glorot(layer)
        for vectors in (self.att_src, self.att_dst, self.att_edge):
            if vectors is not None:
                with torch.no_grad():
                    nn.init.xavier_uniform_(vectors[0])
        for layer in (self.lin_edge, self.res):
            if layer is not None:
                reset_glorot(layer)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def output_parameters(self) -> list[Tensor]:
        maps = [self.lin, self.lin_src, self.lin_dst, self.res]
        weights = [layer.weight for layer in maps if layer is not None]
        return weights if self.bias is None else [*weights, self.bias]

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        x: Tensor | Sequence[Tensor | None],
        edge_index: Adjacency,
        edge_attr: Tensor | None = None,
        size: tuple[int, int] | None = None,
        return_attention_weights: bool | None = None,
        *,
        edge_seed: int | Tensor | None = None,
    ) -> Any:
        """Map (N, C_in) to (N, H C), or (N, C) for averaged heads.

        Args:
            x: (N, C_in), or the pair of (N_src, C_src) and (N_dst, C_dst), or of (N_src, C_src) and None.
            edge_index: the edges, see `AbstractConv`; entries of a sparse matrix are not used.
            edge_attr: (E, K), or (E,) for K = 1; floating point, or `graph.edge_attr` of int16.
            size: (N_src, N_dst), needed for N_dst other than N_src without states of the destinations.
            return_attention_weights: whether to return `(out, (edge_index, alpha))` with alpha (E', H), for the edges as they were
                used: the given ones but self-loops, in their order, then the self-loops; with a `Graph` the edges are in the order
                of `graph.with_self_loops()`. With a sparse matrix of torch the first of the two is that matrix with alpha as its
                entries.
            edge_seed: seed of the permutation of edge dropout, an int or int64 (); None: drawn as dropout is.

        Raises:
            TypeError: for an argument of another type, or edge features that the convolution was not made for.
            ValueError: for sizes, edges or features that do not fit.
        """
        x_src, x_dst = pair(x, "GATConv")
        edges = bipartite_neighbours(edge_index, x_src, x_dst, size, "GATConv")
        graph, num_dst, loops = edges.graph, edges.num_dst, None
        if self.add_self_loops:
            # as PyTorch Geometric: for nodes that are both source and destination
            graph, loops = graph.looped(min(x_src.shape[0], num_dst))
        h, h_dst = self._mapped(x_src, x_dst)
        h = padded(h, graph)
        term_dst = None if self.att_dst is None or h_dst is None else (h_dst * self.att_dst).sum(-1)
        if self.symmetric:
            h = h * _power(graph.out_degree, -0.5, h)
        scores = _on_edges((h * self.att_src).sum(-1), graph.src)
        if term_dst is not None:
            scores = scores + _on_edges(term_dst, graph.dst)
        of_features = self._scores_of_features(edges, edge_attr, graph, loops)
        if of_features is not None:
            scores = scores + of_features
        scores = F.leaky_relu(scores, self.negative_slope)
        if self.training and self.edge_dropout:
            # the softmax treats an edge with a score of minus infinity as absent
            scores = scores.masked_fill(_removed_edges(graph, self.edge_dropout, edge_seed).unsqueeze(1), -math.inf)
        alpha = edge_softmax(scores, graph)
        alpha = dropout(alpha, self.dropout, self.training)
        out = propagate(h, graph, alpha)
        if self.symmetric:
            out = out * _power(graph.in_degree, 0.5, h)
        out = first_rows(out, num_dst)
        out = out.flatten(1) if self.concat else out.mean(1)
        if self.res is not None and x_dst is not None:
            out = out + mapped(self.res, x_dst)
        out = out if self.bias is None else out + self.bias
        return (out, _weights_of(edges, graph, loops, alpha)) if return_attention_weights else out

    def _mapped(self, x_src: Tensor, x_dst: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the states of sources and destinations by heads, (N_src, H, C) and (N_dst, H, C)."""
        shape = -1, self.heads, self.out_channels
        if self.lin is not None:
            h = mapped(self.lin, x_src).view(shape)
            return h, h if x_dst is x_src else None if x_dst is None else mapped(self.lin, x_dst).view(shape)
        assert self.lin_src is not None
        assert self.lin_dst is not None
        return mapped(self.lin_src, x_src).view(shape), None if x_dst is None else mapped(self.lin_dst, x_dst).view(shape)

    def _scores_of_features(
        self, edges: Neighbours, edge_attr: Tensor | None, graph: Graph, loops: SelfLoops | None
    ) -> Tensor | None:
        """Return the term of the edge features in the scores, (E', H), or None without edge features."""
        if edge_attr is None:
            return None
        if self.lin_edge is None or self.att_edge is None:
            raise TypeError("this GATConv was made with edge_dim=None and uses no edge_attr; leave it out, or pass edge_dim.")
        attr = edges.values(edge_attr, "edge_attr")
        assert attr is not None
        scale = integer_scale(edges, attr)
        attr = attr.view(-1, 1) if attr.dim() == 1 else attr
        attr = attr.to(self.att_edge.dtype)
        weight = weight_for(self.lin_edge, attr).view(self.heads, self.out_channels, -1)
        if attr.shape[1:] != weight.shape[2:]:
            raise ValueError(f"edge_attr must have shape (E, {weight.shape[2]}), got {tuple(edge_attr.shape)}.")
        folded = (self.att_edge.view(self.heads, self.out_channels, 1) * weight).sum(1).t() * scale  # (K, H)
        scores = attr @ folded
        if loops is None:
            return scores
        of_loops = self._scores_of_loops(attr, scores, folded, graph, loops)
        return torch.cat([scores, of_loops]).index_select(0, loops.origin)

    def _scores_of_loops(self, attr: Tensor, scores: Tensor, folded: Tensor, graph: Graph, loops: SelfLoops) -> Tensor:
        """Return the term of the features of self-loops in the scores, (n, H)."""
        fill, count = self.fill_value, loops.count
        if isinstance(fill, Tensor):
            return (fill.to(attr).reshape(1, -1) @ folded).expand(count, -1)
        if not isinstance(fill, str):
            return (fill * folded.sum(0)).expand(count, -1)
        if fill in ("mean", "add", "sum"):
            # scores are linear in the features: reduce (E, H), not (E, K)
            without = torch.cat([scores, scores.new_zeros(count, self.heads)]).index_select(0, loops.origin)
            sums = propagate(scores.new_ones(graph.num_nodes, self.heads, 1), graph, without).squeeze(2)[:count]
            return sums / (graph.in_degree[:count] - 1).clamp(min=1).unsqueeze(1) if fill == "mean" else sums
        others = loops.origin < scores.shape[0]
        features = attr.index_select(0, loops.origin[others])
        return scatter(features, graph.dst[others].long(), 0, graph.num_nodes, fill)[:count] @ folded

    def __repr__(self) -> str:
        return f"GATConv({self.in_channels}, {self.out_channels}, heads={self.heads})"


def _weights_of(edges: Neighbours, graph: Graph, loops: SelfLoops | None, alpha: Tensor) -> tuple[Any, Tensor]:
    """Return the edges that were used and their weights, in the order in which PyTorch Geometric returns them."""
    given = edges.given
    if given is edges.graph:
        return graph.edge_index, alpha
    if isinstance(given, Tensor) and given.layout != torch.strided:
        shape = (*given.shape[:2], *alpha.shape[1:])
        if given.layout == torch.sparse_csr:
            return torch.sparse_csr_tensor(graph.indptr[: shape[0] + 1], graph.src.long(), alpha, shape), alpha
        return torch.sparse_coo_tensor(graph.edge_index.flip(0), alpha, shape, is_coalesced=False), alpha
    # the position of each edge in `given` (of the loops: after them), if the graph was sorted
    ids = edges.graph.edge_ids
    origin = torch.arange(graph.num_edges, device=graph.device) if loops is None else loops.origin
    if ids is not None:
        of_loop = origin >= ids.numel()
        origin = torch.where(of_loop, origin, torch.cat([ids, ids.new_zeros(1)])[origin.clamp(max=ids.numel())])
    order = origin.argsort()
    return graph.edge_index[:, order], alpha.index_select(0, order)


def _removed_edges(graph: Graph, rate: float, seed: int | Tensor | None) -> Tensor:
    """The first floor(rate E) edges of a random permutation, as a mask: bool, (E,)."""
    if seed is None:
        generator = generator_for(graph.device)
        order = torch.randperm(graph.num_edges, generator=generator, device=graph.device)
    else:
        order = permutation(seed, graph.src)
    removed = torch.zeros(graph.num_edges, dtype=torch.bool, device=graph.device)
    return removed.index_fill(0, order[: int(rate * graph.num_edges)], True)


def _on_edges(term: Tensor, index: Tensor) -> Tensor:
    # not term[index]: its gradient adds in no fixed order on several threads
    return term.index_select(0, index.long())


def _power(degree: Tensor, exponent: float, like: Tensor) -> Tensor:
    return degree.clamp(min=1).to(torch.promote_types(like.dtype, torch.float32)).pow(exponent).to(like.dtype).view(-1, 1, 1)
