"""Which process has which nodes of a graph."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from revgnn.graph import Graph

How = Literal["contiguous", "random", "metis"]


def assign(graph: Graph, ranks: int, how: How = "contiguous", seed: int = 0) -> Tensor:
    """Return the number of the process of each node, int64 (N,). All processes have the same number of nodes, but for one.

    Args:
        graph: on the CPU.
        how: "contiguous": runs of nodes by their numbers, so that a process reads one piece of a graph in a file; "random";
            "metis": few edges between processes (Karypis and Kumar 1998), by pymetis, which reads the whole graph; sizes then
            differ by a few percent.
        seed: of "random" and "metis".

    Raises:
        ValueError: if there are more processes than nodes, or for an unknown way.
        ImportError: for "metis" without pymetis.
    """
    nodes = graph.num_nodes
    if not 1 <= ranks <= nodes:
        raise ValueError(f"a graph of {nodes} nodes cannot be cut over {ranks} processes; each needs a node.")
    if how == "metis":
        return _by_metis(graph, ranks, seed)
    if how not in ("contiguous", "random"):
        raise ValueError(f"how must be contiguous, random or metis, got {how!r}.")
    owner = torch.arange(nodes) * ranks // nodes
    if how == "random":
        owner = owner[torch.from_numpy(np.random.default_rng(seed).permutation(nodes))]
    return owner


def _by_metis(graph: Graph, ranks: int, seed: int) -> Tensor:
    try:
        import pymetis  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError(
            "how='metis' needs pymetis: pip install 'revgnn[metis]'; how='contiguous' and how='random' need nothing."
        ) from None
    src, dst = graph.src.long(), graph.dst.long()
    kept = src != dst
    both = torch.cat([torch.stack([src[kept], dst[kept]]), torch.stack([dst[kept], src[kept]])], dim=1)
    symmetric = Graph.from_edge_index(both.unique(dim=1), graph.num_nodes)
    adjacency = pymetis.CSRAdjacency(adj_starts=symmetric.indptr.numpy(), adjacent=symmetric.src.long().numpy())
    _, owner = pymetis.part_graph(ranks, adjacency, options=pymetis.Options(seed=seed))
    owner = torch.as_tensor(owner, dtype=torch.int64)
    if owner.unique().numel() < ranks:
        raise ValueError(f"METIS left one of {ranks} processes without a node; use fewer processes, or how='contiguous'.")
    return owner
