"""The networks that benchmarks train, revgnn's and PyTorch Geometric's, and the batch they are trained on."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.peers.pyg import Family, PyGNet, Variant
from revgnn.graph import Graph
from revgnn.models import ModelConfig, build_model

NODES, EDGES = 13_253, 791_225
"""Size of one training batch of ogbn-proteins: one of ten random parts."""
SPECIES = 8
TASKS = 112
DROPOUT = 0.1


class Shape(NamedTuple):
    """Shape of a network."""

    channels: int
    groups: int
    depth: int
    family: Family = "reversible"

    @property
    def width(self) -> int:
        """Channels that one convolution works on."""
        return self.channels // self.groups if self.family == "reversible" else self.channels

    @classmethod
    def of(cls, args: argparse.Namespace) -> Shape:
        """Return the shape that the options of `add_shape_options` describe."""
        return cls(args.channels, args.groups, args.depth)

    def at_most(self, depth: int) -> Shape:
        """Return the same shape with at most `depth` layers, for checks."""
        return self._replace(depth=min(self.depth, depth))


def add_shape_options(parser: argparse.ArgumentParser, *, depth: int = 7) -> None:
    """Add --channels, --groups and --depth, and the size of the batch: --nodes and --edges."""
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--groups", type=int, default=2)
    parser.add_argument("--depth", type=int, default=depth, help="layers")
    add_size_options(parser)


def add_size_options(parser: argparse.ArgumentParser) -> None:
    """Add --nodes and --edges, by default those of one training batch of ogbn-proteins."""
    parser.add_argument("--nodes", type=int, default=NODES)
    parser.add_argument("--edges", type=int, default=EDGES)


class Batch(NamedTuple):
    """Inputs and labels as ogbn-proteins has them: summed edge features, species, 112 binary tasks."""

    graph: Graph
    edge_index: Tensor
    edge_attr: Tensor
    x: Tensor
    species: Tensor
    y: Tensor

    @classmethod
    def on(cls, graph: Graph) -> Batch:
        """Return a batch on a graph with edge features; species and labels are drawn."""
        assert graph.edge_attr is not None
        nodes = graph.num_nodes
        x = torch.zeros(nodes, graph.num_edge_features, dtype=graph.edge_attr.dtype).index_add_(0, graph.dst, graph.edge_attr)
        species = torch.randint(0, SPECIES, (nodes,))
        y = torch.randint(0, 2, (nodes, TASKS)).to(x.dtype)
        return cls(graph, graph.edge_index, graph.edge_attr, x, species, y)

    @classmethod
    def on_part(cls, graph: Graph, nodes: int = 1000) -> Batch:
        """Return a batch on the first `nodes` nodes and the edges among them, for checks."""
        return cls.on(graph.subgraph(torch.arange(min(nodes, graph.num_nodes))))

    def double(self) -> Batch:
        """Return the batch in float64."""
        graph = self.graph.with_edge_attr(self.edge_attr.double())
        return Batch(graph, self.edge_index, self.edge_attr.double(), self.x.double(), self.species, self.y.double())


Logits = Callable[[nn.Module, Batch], Tensor]


def revgnn_logits(model: nn.Module, batch: Batch) -> Tensor:
    """Return the logits (N, TASKS) of a network of `revgnn_model`."""
    return model(batch.graph, batch.x, batch.species)


def pyg_logits(model: nn.Module, batch: Batch) -> Tensor:
    """Return the logits (N, TASKS) of a network of `pyg_model`."""
    return model(batch.x, batch.edge_index, batch.edge_attr, batch.species)


def loss(logits: Tensor, batch: Batch) -> Tensor:
    """Return the loss of logits (N, TASKS)."""
    return nn.functional.binary_cross_entropy_with_logits(logits, batch.y)


def training_step(model: nn.Module, logits: Logits, batch: Batch) -> Callable[[], None]:
    """Return a function that clears the gradients and runs forward pass, loss and backward pass."""

    def run() -> None:
        model.zero_grad(set_to_none=True)
        loss(logits(model, batch), batch).backward()

    return run


def revgnn_model(shape: Shape, graph: Graph, **changes: Any) -> nn.Module:
    """Return revgnn's network for batches on `graph`. `changes` are fields of its configuration."""
    config = ModelConfig(**{**shape._asdict(), "conv": "gen", "aggregation": "max", "dropout": DROPOUT, **changes})
    features = graph.num_edge_features
    return build_model(config, in_channels=features, out_channels=TASKS, num_edge_features=features, num_species=SPECIES)


def pyg_model(shape: Shape, graph: Graph, variant: Variant) -> PyGNet:
    """Return PyTorch Geometric's network for batches on `graph`."""
    features = graph.num_edge_features
    return PyGNet(
        **shape._asdict(),
        edges=variant.edges,
        storing=variant.storing,
        dropout=DROPOUT,
        in_channels=features,
        out_channels=TASKS,
        num_edge_features=features,
        num_species=SPECIES,
    )


def index_by_source(graph: Graph) -> None:
    """Compute the by-source form of the graph, so that no timed step does it."""
    graph.by_source  # noqa: B018 # pyright: ignore[reportUnusedExpression]
