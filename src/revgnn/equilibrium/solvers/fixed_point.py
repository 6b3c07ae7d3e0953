"""Damped fixed-point iteration."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from revgnn.equilibrium.solvers.base import AbstractIteration, Advance, check_damping


@dataclass(frozen=True)
class FixedPoint(AbstractIteration):
    r"""$z_{k+1} = (1 - \tau) z_k + \tau f(z_k)$, without a history. Converges if the damped f is a contraction.

    Attributes:
        damping: $\tau$, above 0 and at most 1; 1 is Picard iteration, the same as a weight-tied network of `max_steps` units.
    """

    damping: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_damping(self.damping)

    def iteration(self) -> Advance:
        def advance(z: Tensor, g: Tensor) -> Tensor:
            return z.add(g, alpha=self.damping)

        return advance
