"""Broyden's method with limited memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from revgnn.solvers.base import AbstractSolver, Advance, products


@dataclass(frozen=True)
class Broyden(AbstractSolver):
    memory: int = 30

    def iteration(self) -> Advance:
        return _Iteration(self)


class _Iteration:
    """Kelley: only steps are kept."""

    def __init__(self, solver: Broyden) -> None:
        self.solver = solver
        self.steps: list[Tensor] = []
        self.lengths: list[float] = []

    def __call__(self, z: Tensor, g: Tensor) -> Tensor:
        if len(self.steps) >= self.solver.memory:
            self.steps, self.lengths = [], []
        w = g.clone()
        for j in range(len(self.steps) - 1):
            c = float(products([self.steps[j]], w)) / self.lengths[j]
            w.add_(self.steps[j + 1], alpha=c)
        if self.steps:
            c = float(products([self.steps[-1]], w)) / self.lengths[-1]
            w = w / (1 - c)
        self.steps.append(w)
        self.lengths.append(float(products([w], w)))
        return z + w
