"""How a stack is differentiated, as an argument: the interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from revgnn.stack.execution import Execution, merge, split
from revgnn.stack.layers import AbstractLayer


class GradientStrategy(ABC):
    """How a whole stack is differentiated. All strategies give the same value and the same gradients for the same network.

    Attributes:
        recomputes: whether blocks are evaluated a second time in the backward pass.
        given: dtype of what the whole stack is given, at least float32, for a strategy of some layers of a stack whose input is the
            state between two layers; None: the input is what the whole stack is given.
        leaves_state: the result is the state between two layers and keeps its dtype.
    """

    recomputes: ClassVar[bool]
    given: torch.dtype | None = None
    leaves_state: bool = False

    @abstractmethod
    def check(self, layers: Sequence[AbstractLayer]) -> None:
        """Raise `ValueError` for layers that this strategy cannot differentiate.

        The message says which layer, why, and what to choose instead.
        """

    @abstractmethod
    def run(self, execution: Execution, state: Tensor) -> Tensor:
        """Return the state (N, D) after the last layer, for the state before the first."""

    def value(self, execution: Execution, state: Tensor) -> Tensor:
        """Return the same where no gradients are recorded; called for strategies that recompute."""
        return merge(execution.advance(split(state, execution.groups), 0, len(execution.layers)))
