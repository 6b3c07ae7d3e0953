"""The interface of our convolutions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from revgnn.graph import Graph


class AbstractConv(nn.Module, ABC):
    """A map of node states along the edges: `conv(x, graph) -> (N, out_channels)`. It keeps no state between calls."""

    in_channels: int
    out_channels: int

    @abstractmethod
    def forward(self, x: Tensor, graph: Graph, *args: Any) -> Tensor:
        """Map states (N, in_channels) to states (N, out_channels)."""

    @abstractmethod
    def reset_parameters(self) -> None:
        """Draw all learned parameters anew."""
