"""Encoder, stack, head: the residual, reversible and weight-tied networks of Li et al. 2021 (arXiv:2106.07476)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from revgnn.graph import Graph
from revgnn.models.base import AbstractStackModel
from revgnn.models.config import ResidualConfig, ReversibleConfig
from revgnn.models.layers import DataShape, make_conv, make_edge_encoder, make_layer, make_node_encoder, make_stack
from revgnn.models.randomness import capture_obstacle, draw_step_randomness, outer_dropout
from revgnn.nn.encoder import EdgeEncoder, NodeEncoder
from revgnn.nn.norm import make_norm
from revgnn.stack import AbstractLayer, Stack


class DeepGNN(AbstractStackModel):
    r"""Node classification by a deep stack (Li et al. 2021, arXiv:2106.07476).

    $h = \mathrm{Stack}(\mathrm{Encoder}(x))$

    $\mathrm{logits} = W\, \mathrm{Dropout}(\mathrm{ReLU}(\mathrm{Norm}(h))) + b$

    Deviations from the authors' code: all layers of a residual network share one dropout mask too (there each layer has its own,
    `shared_dropout=False`); the groups of a layer start with weights of their own (there as copies, `identical_groups`).

    Args:
        config: the configuration it is built from.
        nodes: the node encoder.
        edges: the edge encoder, or None.
        first: a convolution before the stack, without norm and residual connection (ResGNN), or None.
        stack: the layers.
        norm: the last norm; in a weight-tied residual network it is the norm its unit begins with.
        head: the linear map to logits.
    """

    config: ResidualConfig | ReversibleConfig
    stack: Stack
    encoder = ("nodes", "first")
    decoder = ("norm", "head")
    edge_encoder = "edges"

    def __init__(
        self,
        config: ResidualConfig | ReversibleConfig,
        nodes: NodeEncoder,
        edges: EdgeEncoder | None,
        first: nn.Module | None,
        stack: Stack,
        norm: nn.Module,
        head: nn.Linear,
    ) -> None:
        super().__init__()
        self.config = config
        self.nodes = nodes
        self.edges = edges
        self.first = first
        self.stack = stack
        self.norm = norm
        self.head = head

    def forward(
        self,
        graph: Graph,
        x: Tensor | None,
        species: Tensor | None = None,
        *,
        nodes: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return the logits (N, T); see `AbstractModel`. `nodes` is not used."""
        edges = self.edge_arguments(graph)
        h = self.encode(graph, x, species, edges)
        h = self.stack(h, graph, *edges, **draw_step_randomness(self.config, self.stack, h, mask, training=self.training))
        return self.decode(h, graph)

    def edge_arguments(self, graph: Graph) -> tuple[Any, ...]:
        return () if self.edges is None else (self.edges(graph),)

    def encode(self, graph: Graph, x: Tensor | None, species: Tensor | None, edges: tuple[Any, ...]) -> Tensor:
        h = self.nodes(x, species)
        return h if self.first is None else self.first(h, graph, *edges)

    def decode(self, h: Tensor, graph: Graph) -> Tensor:
        h = torch.relu(self.norm(h))
        return self.head(outer_dropout(h, self.config.dropout, self.training))

    def capture_obstacle(self) -> str | None:
        return capture_obstacle(self.config, training=self.training)


def build_residual(config: ResidualConfig, data: DataShape) -> DeepGNN:
    """Return ResGNN or WT-ResGNN."""
    edges = make_edge_encoder(config, data)

    def layer() -> AbstractLayer:
        return make_layer(config, lambda: make_conv(config, edges))

    if config.repeats_pair:
        # Each layer begins with a norm. After the last repeat of the pair comes the norm with which the next would begin.
        pair = [layer(), layer()]
        return _assemble(config, data, edges, pair, norm=pair[0].blocks[0].get_submodule("norm"))
    first = make_conv(config, edges)
    layers = [layer()] * (config.depth - 1) if config.tied else [layer() for _ in range(config.depth - 1)]
    return _assemble(config, data, edges, layers, first=first)


def build_reversible(config: ReversibleConfig, data: DataShape) -> DeepGNN:
    """Return RevGNN or WT-RevGNN."""
    edges = make_edge_encoder(config, data)

    def layer() -> AbstractLayer:
        return make_layer(config, lambda: make_conv(config, edges))

    if config.repeats_pair:
        layers = [layer(), layer()]
    elif config.tied:
        tied = layer()
        layers = [layer(), *[tied] * (config.depth - 1)]
    else:
        layers = [layer() for _ in range(config.depth)]
    return _assemble(config, data, edges, layers)


def _assemble(
    config: ResidualConfig | ReversibleConfig,
    data: DataShape,
    edges: EdgeEncoder | None,
    layers: list[AbstractLayer],
    *,
    first: nn.Module | None = None,
    norm: nn.Module | None = None,
) -> DeepGNN:
    """Return the network with these layers. Weights are drawn in the order in which the parts are made: it must not change."""
    return DeepGNN(
        config,
        nodes=make_node_encoder(config, data),
        edges=edges,
        first=first,
        stack=make_stack(config, layers, repeats=config.depth // 2 if config.repeats_pair else 1),
        norm=norm or make_norm(config.norm, config.channels),
        head=nn.Linear(config.channels, data.out_channels),
    )
