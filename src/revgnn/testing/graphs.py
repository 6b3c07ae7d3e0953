"""Small graphs, each with a property that kernels often handle wrongly."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from revgnn.graph import Graph


class NamedGraph(NamedTuple):
    """A graph and the name of its awkward property, which `str()` returns, for `pytest.mark.parametrize(..., ids=str)`."""

    name: str
    graph: Graph

    def __str__(self) -> str:
        return self.name


def awkward_graphs(num_edge_features: int = 0, *, dtype: torch.dtype = torch.float32, seed: int = 0) -> list[NamedGraph]:
    """Return graphs on which a correct aggregation must work, from one without edges to one with heavy-tailed degrees.

    Args:
        num_edge_features: K. If 0, the graphs have no edge features; otherwise normal ones of shape (E, K), the same in every call.
        dtype: of the edge features.
        seed: of the random graphs and of the edge features.
    """
    rng = np.random.default_rng(seed)
    spokes = torch.arange(1, 38)
    hub = torch.zeros_like(spokes)
    pairs = torch.from_numpy(rng.integers(0, 11, (2, 23)))
    structures: list[tuple[str, Tensor, int]] = [
        ("no edges", _edges([], []), 5),
        ("single node", _edges([], []), 1),
        ("single node, self-loop", _edges([0], [0]), 1),
        ("star in", torch.stack([spokes, hub]), 38),
        ("star out", torch.stack([hub, spokes]), 38),
        ("path", torch.stack([torch.arange(12), torch.arange(1, 13)]), 13),
        ("self-loops only", torch.arange(7).expand(2, -1), 7),
        ("self-loops and edges", torch.cat([torch.arange(11).expand(2, -1), pairs], dim=1), 11),
        ("doubled edges", pairs.repeat(1, 3), 11),
        ("first and last nodes isolated", pairs + 3, 19),
        ("power law", _power_law(rng, num_nodes=173, num_edges=1409), 173),
        ("complete", torch.stack([torch.arange(17).repeat_interleave(17), torch.arange(17).repeat(17)]), 17),
    ]
    noise = torch.Generator().manual_seed(seed)
    graphs = []
    for name, edge_index, num_nodes in structures:
        features = None
        if num_edge_features:
            features = torch.randn(edge_index.shape[1], num_edge_features, generator=noise, dtype=torch.float64).to(dtype)
        graphs.append(NamedGraph(name, Graph.from_edge_index(edge_index.contiguous(), num_nodes, features)))
    return graphs


def _edges(src: list[int], dst: list[int]) -> Tensor:
    return torch.tensor([src, dst], dtype=torch.int64)


def _power_law(rng: np.random.Generator, num_nodes: int, num_edges: int) -> Tensor:
    """Draw both ends of each edge with probability proportional to 1 / rank: a few hubs, many nodes with no edge or one."""
    weight = 1.0 / np.arange(1, num_nodes + 1)
    ends = rng.choice(num_nodes, size=(2, num_edges), p=weight / weight.sum())
    return torch.from_numpy(rng.permutation(num_nodes)[ends])
