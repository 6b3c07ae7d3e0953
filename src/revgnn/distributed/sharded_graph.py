"""One graph cut over processes: each has some of the nodes, all edges into them, and copies of the rows of their sources."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from revgnn.distributed.assign import How, assign
from revgnn.distributed.halo import Halo
from revgnn.distributed.ranks import Ranks
from revgnn.graph import Graph, index
from revgnn.graph.self_loops import SelfLoops
from revgnn.models.randomness import shared_dropout_mask
from revgnn.train.random_numbers import own_random_numbers


class LocalGraph(Graph):
    """The edges into the nodes of one process. The nodes are its own, then those of other processes that are sources.

    The others have no edges into them here. What a convolution asks of a source is that of the whole graph: its out-degree, and
    for GCN its in-degree.

    Args:
        whole_in, whole_out, whole_loops: int64 (M,): degrees of its nodes in the whole graph, and how many of their edges are
            self-loops.
    """

    __slots__ = ("_whole",)

    def __init__(self, graph: Graph, whole_in: Tensor, whole_out: Tensor, whole_loops: Tensor) -> None:
        super().__init__(graph.indptr, graph.src, graph.edge_attr, edge_scale=graph.edge_scale, validate=False)
        self._whole = (whole_in, whole_out, whole_loops)

    @property
    def out_degree(self) -> Tensor:
        return self._whole[1]

    def inv_sqrt_degree(self, dtype: torch.dtype) -> Tensor:
        known = self._inv_sqrt_degree.get(dtype)
        if known is None:
            indptr = torch.nn.functional.pad(self._whole[0].cumsum(0), (1, 0))
            known = self._inv_sqrt_degree[dtype] = index.inverse_sqrt_degree(indptr, dtype)
        return known

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> LocalGraph:
        moved = super().to(device, non_blocking=non_blocking)
        return self if moved is self else LocalGraph(moved, *(t.to(device, non_blocking=non_blocking) for t in self._whole))

    def looped(self, count: int | None = None) -> tuple[Graph, SelfLoops]:
        count = self.num_nodes if count is None else count
        is_new = count not in self._self_loops
        looped, loops = super().looped(count)
        if is_new:
            whole_in, whole_out, whole_loops = self._whole
            has_loop = (torch.arange(self.num_nodes, device=whole_in.device) < count).long()
            looped = LocalGraph(looped, whole_in - whole_loops + has_loop, whole_out - whole_loops + has_loop, has_loop)
            self._self_loops[count] = looped, loops
        return looped, loops


class ShardedGraph:
    """The share of one process of a graph.

    Each edge is in one process: that of its destination, which sees the same edges in the same order as in the whole graph. A
    process builds its share from `graph` alone, of which it reads its own edges: the graph may be a memory-mapped file that all
    processes open. Nothing else of the graph is kept.

    Attributes:
        own: int64, on the CPU: the numbers of its nodes in the whole graph, ascending. States and logits have a row for each.
        local: the graph to call the network with; its nodes are `own`, then `fetched`.
        fetched: int64: the numbers of the other sources of its edges, by process.
        halo: the exchange of rows.
        num_nodes: of the whole graph.

    Args:
        graph: on the CPU, the same in all processes.
        ranks: the processes.
        owner: int64 (N,), the process of each node; or how to assign them, see `assign`.
        seed: of the assignment.
        device: where `local` and rows that are exchanged live.

    Raises:
        ValueError: if the owners are not those of this graph and these processes, or if one has no node.
    """

    def __init__(
        self, graph: Graph, ranks: Ranks, owner: Tensor | How = "contiguous", *, seed: int = 0, device: torch.device | None = None
    ) -> None:
        if isinstance(owner, str):
            owner = assign(graph, ranks.size, owner, seed)
        _check_owner(owner, graph, ranks)
        self.ranks = ranks
        self.num_nodes = graph.num_nodes
        self.own = (owner == ranks.rank).nonzero().squeeze(1)
        indptr, edges = _edges_into(graph.indptr, self.own)
        src = graph.src[edges].long()
        loops = _count(src[src == self.own.repeat_interleave(indptr.diff())], self.num_nodes)
        others = src[owner[src] != ranks.rank].unique()
        self.fetched = others[owner[others].argsort(stable=True)]
        number = torch.full((self.num_nodes,), -1, dtype=torch.int32)
        nodes = torch.cat([self.own, self.fetched])
        number[nodes] = torch.arange(len(nodes), dtype=torch.int32)
        indptr = torch.cat([indptr, indptr[-1:].expand(len(self.fetched))])
        edge_attr = None if graph.edge_attr is None else graph.edge_attr[edges].clone()  # a view would keep those of all edges
        local = Graph(indptr, number[src], edge_attr, edge_scale=graph.edge_scale, validate=False)
        whole_out, whole_loops = ranks.sum(_count(src, self.num_nodes)), ranks.sum(loops)
        whole_in = graph.indptr.diff()
        device = torch.device("cpu") if device is None else device
        self.local = LocalGraph(local, whole_in[nodes], whole_out[nodes], whole_loops[nodes]).to(device)
        self.halo = self._meet(owner, number)
        self.halo.send = self.halo.send.to(device)
        self._counts = [int(count) for count in ranks.gather(len(self.own))]

    def _meet(self, owner: Tensor, number: Tensor) -> Halo:
        """Tell each process which of its rows are needed here, and return the exchange."""
        ranks = self.ranks
        wanted = [self.fetched[owner[self.fetched] == rank] for rank in range(ranks.size)]
        received = [len(nodes) for nodes in wanted]
        everywhere = ranks.gather(received)
        sent = [counts[ranks.rank] for counts in everywhere]
        # The other way round than rows: this process sends numbers of nodes, and receives those that others want.
        asking = Halo(ranks, len(self.own), torch.zeros(0, dtype=torch.int64), sent, received)
        asked = asking.give_back(self.fetched)
        return Halo(ranks, len(self.own), number[asked].long(), sent, received)

    def mask(self, channels: int, groups: int, rate: float, seed: int) -> Tensor:
        """Return the rows of this process of a dropout mask for all layers (N, D), as one process draws it from this seed.

        The mask of a group is drawn for the whole graph: for a moment it takes N x D / G numbers.
        """
        with own_random_numbers(torch.device("cpu"), seed):
            parts = [shared_dropout_mask((self.num_nodes, channels // groups), rate)[self.own] for _ in range(groups)]
        return torch.cat(parts, dim=1)

    def collect(self, rows: Tensor) -> Tensor:
        """Return the rows (N, ...) of all nodes in all processes, from those (N_own, ...) of each."""
        whole = rows.new_full((self.num_nodes, *rows.shape[1:]), -0.0 if rows.is_floating_point() else 0)
        whole[self.own] = rows.detach()
        return self.ranks.sum(whole)

    def gather(self, rows: Tensor) -> Tensor:
        """Return the rows (N, ...) of all nodes in process 0, from those (N_own, ...) of each; in the others their own.

        Args:
            rows: on the CPU, in all processes of one dtype.
        """
        ranks, rows = self.ranks, rows.detach().contiguous()
        with ranks.exchanging():
            if not ranks.leads:
                dist.send(self.own, 0)
                dist.send(rows, 0)
                return rows
            whole = rows.new_empty((self.num_nodes, *rows.shape[1:]))
            whole[self.own] = rows
            for rank, count in enumerate(self._counts[1:], start=1):
                numbers, found = torch.empty(count, dtype=torch.int64), rows.new_empty((count, *rows.shape[1:]))
                dist.recv(numbers, rank)
                dist.recv(found, rank)
                whole[numbers] = found
        return whole

    def __repr__(self) -> str:
        return (
            f"ShardedGraph(rank={self.ranks.rank} of {self.ranks.size}, own={len(self.own)} of {self.num_nodes}, "
            f"fetched={len(self.fetched)}, edges={self.local.num_edges})"
        )


def _check_owner(owner: Tensor, graph: Graph, ranks: Ranks) -> None:
    if owner.shape != (graph.num_nodes,) or owner.dtype != torch.int64:
        raise ValueError(f"owner must be int64 of shape ({graph.num_nodes},), got {owner.dtype} of shape {tuple(owner.shape)}.")
    counts = torch.bincount(owner.clamp(min=0), minlength=ranks.size)
    if len(counts) > ranks.size or int(owner.min()) < 0:
        raise ValueError(f"owner must name processes 0 to {ranks.size - 1}, got {int(owner.min())} to {int(owner.max())}.")
    if int(counts.min()) == 0:
        raise ValueError(f"process {int(counts.argmin())} has no node; each needs one.")


def _edges_into(indptr: Tensor, nodes: Tensor) -> tuple[Tensor, Tensor | slice]:
    """Return the compressed form of the edges into some nodes, and their positions: a slice if the nodes follow one another."""
    degrees = indptr[nodes + 1] - indptr[nodes]
    kept = torch.nn.functional.pad(degrees.cumsum(0), (1, 0))
    first, last = int(nodes[0]), int(nodes[-1])
    if last - first + 1 == len(nodes):
        return kept, slice(int(indptr[first]), int(indptr[last + 1]))
    return kept, torch.arange(int(kept[-1])) + (indptr[nodes] - kept[:-1]).repeat_interleave(degrees)


def _count(nodes: Tensor, num_nodes: int) -> Tensor:
    return torch.bincount(nodes, minlength=num_nodes)
