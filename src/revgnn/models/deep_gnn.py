"""Encoder, stack, head: the residual, reversible and weight-tied networks of the paper."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from revgnn.graph import Graph
from revgnn.models.config import ModelConfig
from revgnn.models.noise import step_noise
from revgnn.nn.encoder import EdgeEncoder, NodeEncoder
from revgnn.stack import Stack


class DeepGNN(nn.Module):
    r"""Node classification by a deep stack (Li et al. 2021, arXiv:2106.07476).

    $h = \mathrm{Stack}(\mathrm{Encoder}(x))$

    $\mathrm{logits} = W\, \mathrm{Dropout}(\mathrm{ReLU}(\mathrm{Norm}(h))) + b$

    Args:
        config: how it was built.
        nodes: the node encoder.
        edges: the edge encoder, or None.
        first: a convolution before the stack, without a norm or a residual (ResGNN), or None.
        stack: the layers.
        norm: the last norm; for a weight-tied residual network the one its unit begins with.
        head: the linear map to logits.
    """

    def __init__(
        self,
        config: ModelConfig,
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

    def forward(self, graph: Graph, x: Tensor | None, species: Tensor | None = None) -> Tensor:
        """Logits (N, T).

        Args:
            graph: N nodes; its edge features are used if the model was built for them.
            x: (N, F), floating point; None if there are none.
            species: (N,), int64, or None.

        Raises:
            ValueError: if features do not have the width the model was built for.
        """
        h = self.nodes(x, species)
        edges: tuple[Any, ...] = () if self.edges is None else (self.edges(graph),)
        if self.first is not None:
            h = self.first(h, graph, *edges)
        h = self.stack(h, graph, *edges, **self._noise(h))
        h = torch.relu(self.norm(h))
        return self.head(nn.functional.dropout(h, self.config.dropout, self.training))

    def _noise(self, h: Tensor) -> dict[str, Any]:
        """What all layers share in this step."""
        if not self.training:
            return {}
        dropout = self.config.dropout if self.config.shared_dropout else 0.0
        return step_noise(self.stack, h, dropout=dropout, edge_dropout=self.config.edge_dropout)
