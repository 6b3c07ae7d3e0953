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

    @index.outside_inference_mode
    def __init__(self, indptr: Tensor, src: Tensor, count: int) -> None:
        dst = index.destinations(indptr, src)
        num_edges = src.numel()
        is_loop = src == dst
        kept = (~is_loop).nonzero().squeeze(1)
        loops = torch.arange(count, device=src.device)
        # each kept edge moves up by the loops of the nodes before its own
        position = torch.arange(kept.numel(), device=src.device) + dst[kept].clamp(max=count)
        degree = index.count_by_destination(~is_loop, indptr)
        degree[:count] += 1
        self.indptr = torch.zeros_like(indptr)
        torch.cumsum(degree, 0, out=self.indptr[1:])
        ends = self.indptr[1 : count + 1] - 1
        self.src = src.new_empty(kept.numel() + count)
        self.src[position] = src[kept]
        self.src[ends] = loops.to(src.dtype)
        self.origin = torch.empty(self.src.numel(), dtype=torch.int64, device=src.device)
        self.origin[position] = kept
        self.origin[ends] = loops + num_edges
        self._removed = is_loop.nonzero().squeeze(1)
        self._removed_node = src[self._removed].long()
        self._num_edges, self.count = num_edges, count

    @functools.cached_property
    @index.outside_inference_mode
    def kept(self) -> Tensor:
        """int64, (E',): where each edge finds its value in `torch.cat([values of the edges, one value for all new loops])`.

        A node that had loops before keeps the value of its last one.
        """
        last = torch.full((self.count + 1,), -1, device=self.origin.device)
        # positions of nodes beyond `count` are collected in the last entry, which is not used
        last.scatter_reduce_(0, self._removed_node.clamp(max=self.count), self._removed, "amax")
        of_loop = self.origin - self._num_edges
        found = last[of_loop.clamp(min=0)]
        of_loops = torch.where(found < 0, self._num_edges, found)
        return torch.where(of_loop < 0, self.origin, of_loops)
