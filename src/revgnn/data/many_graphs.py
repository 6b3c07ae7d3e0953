"""Many small graphs as one: nodes in the order of their graphs, and no edge between two of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from revgnn.data.tasks.base import describe_tensor
from revgnn.graph import Graph


@dataclass(frozen=True, eq=False)
class ManyGraphs:
    """The graphs that the nodes of a block-diagonal graph belong to.

    Attributes:
        graph_of_node: int64 (N,): 0, ..., G - 1 in ascending order, each at least once.
    """

    graph_of_node: Tensor

    @cached_property
    def indptr(self) -> Tensor:
        """Int64 (G + 1): nodes `indptr[g]` to `indptr[g + 1]` are those of graph g."""
        counts = torch.bincount(self.graph_of_node)
        return torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])

    def __len__(self) -> int:
        return int(self.graph_of_node[-1]) + 1 if len(self.graph_of_node) else 0

    def check(self, graph: Graph, name: str) -> None:
        """Raise `ValueError` if these are not the graphs of the nodes of `graph`; `name` is that of the data set."""
        owner = self.graph_of_node
        if owner.shape != (graph.num_nodes,) or owner.dtype != torch.int64:
            raise ValueError(f"{name}: graph_of_node must be int64 of shape ({graph.num_nodes},), got {describe_tensor(owner)}.")
        steps = owner.diff(prepend=torch.tensor([-1]))
        bad = ((steps < 0) | (steps > 1)).nonzero()
        if len(bad) or not len(owner) or int(owner[0]) != 0:
            node = int(bad[0]) if len(bad) else 0
            raise ValueError(
                f"{name}: graph_of_node must ascend from 0 and leave out no graph, such as 0, 0, 1, 2; node {node} does not follow."
            )
        crossing = (owner[graph.src.long()] != owner[graph.dst.long()]).nonzero()
        if len(crossing):
            a, b = int(graph.src[crossing[0]]), int(graph.dst[crossing[0]])
            raise ValueError(
                f"{name}: the edge {a} -> {b} joins graph {int(owner[a])} and graph {int(owner[b])}; edges lie within graphs."
            )

    def take(self, graph: Graph, graphs: Tensor) -> tuple[Tensor, Graph, Tensor]:
        """Return some of the graphs as one: the numbers of its nodes, the graph, and its `indptr`, int64 (B + 1).

        Edges keep their order, so that sums over the edges of a node are the same in every batch.

        Args:
            graph: of all nodes.
            graphs: int64 (B,), distinct.
        """
        starts, stops = self.indptr[graphs], self.indptr[graphs + 1]
        nodes, indptr = _ranges(starts, stops)
        edge_starts, edge_stops = graph.indptr[starts], graph.indptr[stops]
        edges, edge_ptr = _ranges(edge_starts, edge_stops)
        shift = torch.repeat_interleave(indptr[:-1] - starts, edge_ptr.diff(), output_size=len(edges))
        degrees = graph.indptr[nodes + 1] - graph.indptr[nodes]
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), degrees.cumsum(0)])
        src = (graph.src[edges] + shift).to(graph.src.dtype)
        edge_attr = None if graph.edge_attr is None else graph.edge_attr[edges]
        return nodes, Graph(offsets, src, edge_attr, edge_scale=graph.edge_scale, validate=False), indptr


def _ranges(starts: Tensor, stops: Tensor) -> tuple[Tensor, Tensor]:
    """Return the numbers from each start to each stop one after another, and where each range begins and ends, (B + 1)."""
    sizes = stops - starts
    ends = torch.cat([torch.zeros(1, dtype=torch.int64), sizes.cumsum(0)])
    total = int(ends[-1])
    return torch.arange(total) + torch.repeat_interleave(starts - ends[:-1], sizes, output_size=total), ends
