"""A graph cut over processes: how many nodes and edges each has, and how many rows it fetches and sends."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from revgnn.distributed import assign
from revgnn.distributed.assign import How
from revgnn.experiments.planner.size import DataSize
from revgnn.graph import Graph


class Share(NamedTuple):
    """The share of one process.

    Attributes:
        own, edges: its nodes, and the edges into them.
        fetched: rows of other processes that it needs: sources of its edges.
        sent: how often one of its rows is needed by another process.
    """

    own: int
    edges: int
    fetched: int
    sent: int

    @property
    def rows(self) -> int:
        """Rows that a block is evaluated for."""
        return self.own + self.fetched


def shares_of(graph: Graph, ranks: int, how: How = "contiguous", seed: int = 0) -> list[Share]:
    """Return the shares that `ShardedGraph` gives to so many processes, from the graph itself.

    Raises:
        ValueError, ImportError: see `assign`.
    """
    owner = assign(graph, ranks, how, seed)
    own = torch.bincount(owner, minlength=ranks)
    degree = graph.indptr.diff()
    of_dst = owner.repeat_interleave(degree)
    fetched, sent = [], torch.zeros(ranks, dtype=torch.int64)
    for rank in range(ranks):
        needed = torch.zeros(graph.num_nodes, dtype=torch.bool)
        needed[_sources(graph, of_dst == rank)] = True
        needed[owner == rank] = False
        fetched.append(int(needed.sum()))
        sent += torch.bincount(owner[needed], minlength=ranks)
    edges = torch.zeros(ranks, dtype=torch.int64).index_add_(0, owner, degree)
    return [Share(*numbers) for numbers in zip(own.tolist(), edges.tolist(), fetched, sent.tolist(), strict=True)]


def _sources(graph: Graph, edges: Tensor) -> Tensor:
    return graph.src[edges].long()


def expected_share(data: DataSize, ranks: int) -> Share:
    r"""Return the share of a process if sources of edges are drawn at random: of a graph that is known by its size only.

    Of the N - N/K nodes of other processes one is a source of none of the E/K edges with probability $(1 - 1/N)^{E/K}$. Real graphs
    have nodes of many edges, and neighbours near one another: they need fewer rows.
    """
    nodes, edges = data.num_nodes, (data.num_edges - data.num_loops) / ranks
    own = math.ceil(nodes / ranks)
    missed = math.exp(edges * math.log1p(-1.0 / nodes)) if nodes > 1 else 1.0
    fetched = round((nodes - own) * (1.0 - missed))
    return Share(own, math.ceil(data.num_edges / ranks), fetched, fetched)


def edges_deviation(data: DataSize, parts: int, graph: Graph | None, seed: int = 0) -> float:
    """Return the standard deviation of the number of edges in one of `parts` random parts.

    It is that of the parts of a random cut if the graph is there. Otherwise each pair of opposite edges is in a part by chance.
    """
    if parts < 2 or data.row != "node":
        return 0.0
    if graph is not None:
        generator = torch.Generator().manual_seed(seed)
        part = (torch.arange(graph.num_nodes) % parts)[torch.randperm(graph.num_nodes, generator=generator)]
        of_dst = part.repeat_interleave(graph.indptr.diff())
        inside = of_dst[part[graph.src.long()] == of_dst]
        return float(torch.bincount(inside, minlength=parts).double().std(correction=0))
    share = 1.0 / parts**2
    return math.sqrt(2.0 * (data.num_edges - data.num_loops) * share * (1.0 - share))
