"""Plain backpropagation: every activation is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from revgnn.stack.execution import Execution, merge, split
from revgnn.stack.layers import AbstractLayer
from revgnn.stack.strategy import GradientStrategy


@dataclass(frozen=True)
class Backprop(GradientStrategy):
    """Memory O(L N D), one evaluation of each block.

    Use it for shallow stacks, for double backward, and to check other strategies.
    """

    recomputes = False

    def check(self, layers: Sequence[AbstractLayer]) -> None:
        """Accept all layers."""

    def run(self, execution: Execution, state: Tensor) -> Tensor:
        groups = split(state, execution.groups)
        return merge(execution.advance_with_autograd(groups, 0, len(execution.layers), execution.arguments))
