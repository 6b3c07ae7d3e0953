"""Graphs and networks for the checks, and the settings of torch that they change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from revgnn.graph import Graph
from revgnn.models import ModelConfig, build_model

K = 8
"""Edge features of the networks."""


def small_graph(device: torch.device, num_nodes: int = 60, num_edges: int = 300) -> Graph:
    generator = torch.Generator().manual_seed(0)
    ends = torch.randint(0, num_nodes - num_nodes // 6, (2, num_edges), generator=generator)
    return Graph.from_edge_index(ends, num_nodes, torch.rand(num_edges, K, generator=generator)).to(device)


def network(depth: int, channels: int, device: torch.device, **settings: object) -> nn.Module:
    config = ModelConfig.model_validate({"depth": depth, "channels": channels, **settings})
    with seeded(0):
        return build_model(config, in_channels=K, out_channels=3, num_edge_features=K).to(device)


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
