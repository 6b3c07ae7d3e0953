"""What training asks of every network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor, nn

from revgnn.equilibrium import SolveStatistics
from revgnn.graph import Graph
from revgnn.models.config import ModelConfig
from revgnn.models.config.stack import StackConfig
from revgnn.stack import Stack


@dataclass(frozen=True)
class TrainingState:
    """What a network holds beside its weights and buffers, and needs to continue training bit for bit."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    """By name in the file of a run's state."""
    values: dict[str, Any] = field(default_factory=dict)
    """Values that JSON can hold, by name in the note of that file."""


class AbstractModel(nn.Module, ABC):
    """Node classification. The defaults are those of a network that keeps no state between steps.

    Attributes:
        config: the configuration it was built from.
        auxiliary_loss: a scalar to add to the loss of the last training step, or None.
    """

    config: ModelConfig
    auxiliary_loss: Tensor | None = None

    @abstractmethod
    def forward(
        self,
        graph: Graph,
        x: Tensor | None,
        species: Tensor | None = None,
        *,
        nodes: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return the logits (N, T).

        Args:
            graph: N nodes; its edge features are used if the model was built for them.
            x: (N, F), floating point; None if there are none.
            species: (N,), int64, or None.
            nodes: (N,), int64: numbers of the nodes in the whole graph, for networks that remember nodes; None: 0 to N - 1.
            mask: (N, D), the factors of the dropout mask of all layers; None: drawn in training (see `shared_dropout_mask`), and
                none in evaluation. A mask that is given is used in evaluation too.

        Raises:
            ValueError: if features do not have the width the model was built for, or the mask not the shape of the state.
        """

    def take_solves(self) -> SolveStatistics | None:
        """Return statistics of the solves since the last call; None if the network solves nothing."""
        return None

    def training_state(self) -> TrainingState:
        """Return what the network holds beside its weights and buffers."""
        return TrainingState()

    def restore_training_state(self, state: TrainingState) -> None:
        """Take over what `training_state` returned. Names that are not the network's own are ignored."""

    def capture_obstacle(self) -> str | None:
        """Return why a training step cannot be captured as a CUDA graph; None if it can."""
        return None


class AbstractStackModel(AbstractModel):
    """A network that encodes nodes, takes their state through one stack, and returns logits. Its parts can be called one by one.

    Attributes:
        stack: the layers; None if there are none.
        encoder, decoder: names of the modules that `encode` and `decode` use.
        edge_encoder: name of the module that `edge_arguments` uses; None if there is none.
    """

    config: StackConfig
    stack: Stack | None
    encoder: ClassVar[tuple[str, ...]]
    decoder: ClassVar[tuple[str, ...]]
    edge_encoder: ClassVar[str | None] = None

    def edge_arguments(self, graph: Graph) -> tuple[Any, ...]:
        """Return what convolutions are called with after the graph."""
        return ()

    @abstractmethod
    def encode(self, graph: Graph, x: Tensor | None, species: Tensor | None, edges: tuple[Any, ...]) -> Tensor:
        """Return the state (N, D) before the stack. `edges` is the result of `edge_arguments`."""

    @abstractmethod
    def decode(self, h: Tensor, graph: Graph) -> Tensor:
        """Return the logits (N, T) for the state (N, D) after the stack."""
