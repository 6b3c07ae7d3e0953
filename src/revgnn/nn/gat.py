"""Graph attention, and the variant that RevGAT uses."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from revgnn.graph import Graph
from revgnn.nn.base import AbstractConv
from revgnn.ops.dropout import draws_from_own, dropout, generator_for
from revgnn.ops.edge_softmax import edge_softmax
from revgnn.ops.permutation import permutation
from revgnn.ops.propagate import propagate


@draws_from_own
class GATConv(AbstractConv):
    r"""Graph attention (Veličković et al. 2018, arXiv:1710.10903, eqs. 3 to 6), for each of H heads:

    $h = W x$

    $s_{ij} = \mathrm{LeakyReLU}(a_{src} \cdot h_j + a_{dst} \cdot h_i)$

    $\alpha_{ij} = \mathrm{softmax}_j(s_{ij})$, with dropout in training

    $x_i' = \sum_{j \to i} \alpha_{ij} h_j + R x_i + b$, heads side by side (`concat`) or averaged

    The attention vector of the paper is $[a_{dst}, a_{src}]$. The paper's neighbourhoods include the node itself: pass
    `graph.with_self_loops()` for that. The paper's nonlinearity is left to the block; the map $R$ is ours. A node without incoming
    edges gets $R x_i + b$.

    RevGAT (Li et al. 2021, arXiv:2106.07476) on ogbn-arxiv uses `destination=False`, which drops $a_{dst}$, and `symmetric=True`:
    with out-degrees $d_j$ and in-degrees $d_i$, $h_j$ becomes $d_j^{-1/2} h_j$ in the source term of the score and in the sum, and
    the sum is multiplied by $d_i^{1/2}$. Where the weights of a node are equal, $\alpha_{ij} = 1 / d_i$, this is
    $D^{-1/2} A D^{-1/2}$.

    Edge dropout removes a share of the edges from softmax and sum in training, the same for all heads: the first floor(rate E) of a
    random permutation. A node that loses all its edges gets $R x_i + b$; degrees stay those of the whole graph.

    Dropout draws E x H numbers in each call, from the generator of the block inside a stack, else from torch's global one. The
    permutation is drawn from it too, unless the call has an `edge_seed`: blocks that are given the same seed remove the same edges.

    Shapes: x (N, C_in); returns (N, out_channels). Learned: `lin.weight` (H C, C_in), `att_src` and `att_dst` (1, H, C),
    `res.weight` (out_channels, C_in), `bias` (out_channels,).

    Args:
        channels: C, channels of one head.
        heads: H.
        concat: side by side, `out_channels = H C`; else averaged, `out_channels = C`.
        negative_slope: of the LeakyReLU.
        dropout: share of the attention weights set to 0 in training.
        edge_dropout: share of the edges removed in training.
        destination: whether the score has the destination term.
        symmetric: RevGAT's normalisation.
        residual: whether there is a linear map R.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        heads: int = 1,
        concat: bool = True,
        negative_slope: float = 0.2,
        dropout: float = 0.0,
        edge_dropout: float = 0.0,
        destination: bool = True,
        symmetric: bool = False,
        residual: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"dropout must lie in [0, 1), got {dropout}.")
        if not 0.0 <= edge_dropout < 1.0:
            raise ValueError(f"edge_dropout must lie in [0, 1), got {edge_dropout}.")
        if heads < 1:
            raise ValueError(f"heads must be 1 or more, got {heads}.")
        self.in_channels = in_channels
        self.channels = channels
        self.heads = heads
        self.concat = concat
        self.out_channels = heads * channels if concat else channels
        self.negative_slope = negative_slope
        self.dropout = dropout
        self.edge_dropout = edge_dropout
        self.symmetric = symmetric
        self.lin = nn.Linear(in_channels, heads * channels, bias=False)
        self.att_src = nn.Parameter(torch.empty(1, heads, channels))
        self.att_dst = nn.Parameter(torch.empty(1, heads, channels)) if destination else None
        self.res = nn.Linear(in_channels, self.out_channels, bias=False) if residual else None
        self.bias = nn.Parameter(torch.empty(self.out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot uniform maps and attention vectors (as the paper), zero bias."""
        nn.init.xavier_uniform_(self.lin.weight)
        for vectors in (self.att_src, self.att_dst):
            if vectors is not None:
                with torch.no_grad():
                    nn.init.xavier_uniform_(vectors[0])
        if self.res is not None:
            nn.init.xavier_uniform_(self.res.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, graph: Graph, *args: Any, edge_seed: int | Tensor | None = None) -> Tensor:
        """Map (N, in_channels) to (N, out_channels).

        Args:
            x: (N, in_channels).
            graph: N nodes, E edges.
            edge_seed: seed of the permutation of edge dropout, an int or int64 (); None: drawn as dropout is.
        """
        h = self.lin(x).view(-1, self.heads, self.channels)
        term_dst = None if self.att_dst is None else (h * self.att_dst).sum(-1)
        if self.symmetric:
            h = h * _power(graph.out_degree, -0.5, h)
        scores = _on_edges((h * self.att_src).sum(-1), graph.src)
        if term_dst is not None:
            scores = scores + _on_edges(term_dst, graph.dst)
        scores = F.leaky_relu(scores, self.negative_slope)
        if self.training and self.edge_dropout:
            # the softmax treats an edge with a score of minus infinity as absent
            scores = scores.masked_fill(_removed_edges(graph, self.edge_dropout, edge_seed).unsqueeze(1), -math.inf)
        alpha = edge_softmax(scores, graph)
        out = propagate(h, graph, dropout(alpha, self.dropout, self.training))
        if self.symmetric:
            out = out * _power(graph.in_degree, 0.5, h)
        out = out.flatten(1) if self.concat else out.mean(1)
        if self.res is not None:
            out = out + self.res(x)
        return out if self.bias is None else out + self.bias


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
