"""How a stack is differentiated, as an argument: the interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from revgnn.stack.execution import Execution
from revgnn.stack.layers import AbstractLayer


class GradientStrategy(ABC):
    """How a whole stack is differentiated. All strategies give the same value and the same gradients for the same network.

    Attributes:
        recomputes: whether blocks are evaluated a second time in the backward pass.
    """

    recomputes: ClassVar[bool]

    @abstractmethod
    def check(self, layers: Sequence[AbstractLayer]) -> None:
        """Raise `ValueError` for layers that this strategy cannot differentiate.

        The message says which layer, why, and what to choose instead.
        """

    @abstractmethod
    def run(self, execution: Execution, state: Tensor) -> Tensor:
        """Return the state (N, D) after the last layer, for the state before the first."""
