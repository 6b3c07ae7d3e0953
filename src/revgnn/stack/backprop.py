"""Plain backpropagation: everything is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from revgnn.stack.layer import AbstractLayer
from revgnn.stack.program import Program, merge, split
from revgnn.stack.strategy import GradientStrategy


@dataclass(frozen=True)
class Backprop(GradientStrategy):
    """Memory O(L N D), one evaluation of each block. Use it for shallow stacks, for double backward, and as the yardstick."""

    recomputes = False

    def check(self, layers: Sequence[AbstractLayer]) -> None:
        """Every layer will do."""

    def run(self, program: Program, state: Tensor) -> Tensor:
        groups = split(state, program.layers[0].groups)
        return merge(program.walk(groups, 0, len(program.layers), program.shared))
