"""What a gradient strategy needs to know of a layer: how the groups of the state walk through it, and back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

Step = Callable[[int, Tensor, Tensor], Tensor]
"""`step(i, x, y)` returns `x + f_i(y)` for block `f_i` of the layer."""

StepBack = Callable[[int, Tensor, Tensor, Tensor], tuple[Tensor, Tensor | None]]
"""`step_back(i, x_new, y, grad)` evaluates `f_i(y)` once; returns `x = x_new - f_i(y)` and the gradient of `y` (None: not used)."""


class AbstractLayer(nn.Module, ABC):
    """A layer whose state is a list of groups, each (N, channels / groups), and whose blocks each add to one of them."""

    blocks: nn.ModuleList

    @property
    @abstractmethod
    def groups(self) -> int:
        """How many groups the state has."""

    @abstractmethod
    def walk(self, state: list[Tensor], step: Step) -> list[Tensor]:
        """The state after the layer. Calls `step` once for each block; changes neither the list nor its tensors."""


class AbstractReversibleLayer(AbstractLayer):
    """A layer that can be walked backwards."""

    @abstractmethod
    def walk_back(self, state: list[Tensor], grads: list[Tensor], step_back: StepBack) -> None:
        """Replace state and gradient after the layer by those before it, in the lists, group by group, so that nothing is
        alive longer than needed.

        Calls `step_back` once for each block; changes no tensor.
        """
