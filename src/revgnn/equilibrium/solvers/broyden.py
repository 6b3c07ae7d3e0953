"""Broyden's method with limited memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from revgnn.equilibrium.solvers.base import AbstractIteration, Advance, inner_products

SINGULAR = 1e-6
"""An update that changes the determinant of the Jacobian by a smaller factor than this counts as singular."""


@dataclass(frozen=True)
class Broyden(AbstractIteration):
    r"""Broyden's "good" method on f(z) - z = 0, started from the Jacobian $-I / \beta$ (Kelley 1995, Iterative Methods for
    Linear and Nonlinear Equations, doi:10.1137/1.9781611970944, section 7.3).

    The inverse Jacobian is a product of rank-one factors that depend on the steps $s_j = z_{j+1} - z_j$ alone, so one state is
    kept for each step, not two: $B_{k}^{-1} = \prod_{j=k-1}^{0} (I + s_{j+1} s_j^T / \lVert s_j \rVert^2)\, B_0^{-1}$. Full
    steps; no line search. Inner products are summed in float64.

    History: `memory` states.

    Attributes:
        memory: number of steps that are kept. When it is reached, the iteration restarts from the current iterate.
        mixing: $\beta$, above 0 and at most 1: the first step is $\beta\, (f(z) - z)$.
        restart: restart also when the residual has grown to this many times the smallest one since the last restart.
    """

    memory: int = 30
    mixing: float = 1.0
    restart: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.memory < 1:
            raise ValueError(
                f"memory must be 1 or more steps, got {self.memory}; choose FixedPoint for an iteration without a history."
            )
        if not 0.0 < self.mixing <= 1.0:
            raise ValueError(f"mixing must be above 0 and at most 1, got {self.mixing}.")
        if not self.restart > 1.0:
            raise ValueError(f"restart must be above 1 (math.inf: never), got {self.restart}.")

    def iteration(self) -> Advance:
        return _Iteration(self)


class _Iteration:
    """The steps since the last restart, with their squared lengths, and the smallest squared residual."""

    def __init__(self, solver: Broyden) -> None:
        self.solver = solver
        self.restart()

    def restart(self) -> None:
        self.steps: list[Tensor] = []
        self.squares: list[float] = []
        self.smallest = math.inf

    def __call__(self, z: Tensor, g: Tensor) -> Tensor:
        gap = float(self._products([g], g))
        if len(self.steps) == self.solver.memory or gap > self.solver.restart**2 * self.smallest:
            self.restart()
        self.smallest = min(self.smallest, gap)
        s = self._quasi_newton(g)
        square = float(self._products([s], s))
        if square == 0.0:
            return z  # the iterate solves the equation to the last bit
        self.steps.append(s)
        self.squares.append(square)
        return z + s

    def _products(self, rows: list[Tensor], vector: Tensor) -> Tensor:
        return self.solver.totals.sums(inner_products(rows, vector))

    def _quasi_newton(self, g: Tensor) -> Tensor:
        """Return the step -B^{-1} g.

        The last factor of B^{-1} contains the step itself, which the formula of Sherman and Morrison solves for.
        """
        s = g * self.solver.mixing
        if not self.steps:
            return s
        for step, next_step, square in zip(self.steps, self.steps[1:], self.squares, strict=False):
            s.addcmul_(next_step, (self._products([step], s) / square).to(s.dtype))
        determinant = 1.0 - float(self._products([self.steps[-1]], s)) / self.squares[-1]
        if abs(determinant) < SINGULAR:
            self.restart()
            return g * self.solver.mixing
        return s.div_(determinant)
