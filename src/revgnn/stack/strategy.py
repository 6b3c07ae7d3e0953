"""How a stack is differentiated, as an argument: the interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor

from revgnn.stack.layer import AbstractLayer
from revgnn.stack.program import Program


class GradientStrategy(ABC):
    """Wraps a whole stack. All strategies give the same value for the same network, and the same gradients."""

    recomputes: bool
    """Blocks are evaluated a second time in the backward pass."""

    @abstractmethod
    def check(self, layers: Sequence[AbstractLayer]) -> None:
        """Refuse layers that this strategy cannot differentiate.

        Raises:
            ValueError: saying which layer, why, and what to choose instead.
        """

    @abstractmethod
    def run(self, program: Program, state: Tensor) -> Tensor:
        """State (N, D) before the first layer to state after the last."""
