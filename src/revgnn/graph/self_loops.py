"""The same edges with one self-loop for each node, and how values of edges are carried over."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from revgnn.graph import index


class SelfLoops:
    """The arrays of a graph in which each of the first `count` nodes has exactly one self-loop, after its other edges.

    Loops that were there before are removed; `kept` says where their values are.

    Args:
        indptr, src: the graph by destination, (N + 1,) int64 and (E,).
        count: n, number of nodes that get a loop; the others have none.

    Attributes:
        count: n.
        indptr, src: the graph with the loops, (N + 1,) int64 and (E',).
        origin: int64, (E',): the position of each edge before, or E + i for the loop of node i. It takes values in the new order
            from `torch.cat([values of the edges, values of the loops])`.
    """

    def __init__(self, indptr: Tensor, src: Tensor, count: int) -> None:
        self.count = count
        self.indptr, self.src, self.origin, self._last = index.self_loops(indptr, src, count)
        self._num_edges = src.numel()

    @functools.cached_property
    @index.outside_inference_mode
    def kept(self) -> Tensor:
        """int64, (E',): where each edge finds its value in `torch.cat([values of the edges, one value for all new loops])`.

        A node that had loops before keeps the value of its last one.
        """
        of_loop = self.origin - self._num_edges
        last = torch.cat([self._last, self._last.new_full((1,), -1)])[of_loop.clamp(min=0)]
        return torch.where(of_loop < 0, self.origin, torch.where(last < 0, self._num_edges, last))
