"""Damped fixed-point iteration."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from revgnn.solvers.base import AbstractSolver, Advance


@dataclass(frozen=True)
class FixedPoint(AbstractSolver):
    r"""$z_{k+1} = (1 - \tau) z_k + \tau f(z_k)$: no history. Converges where f, so damped, is a contraction.

    Attributes:
        damping: $\tau$, above 0 and at most 1; 1 is Picard iteration, and what a weight-tied network of `max_steps` units does.
    """

    damping: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.damping <= 1.0:
            raise ValueError(f"damping must be above 0 and at most 1 (1: full steps), got {self.damping}.")

    def iteration(self) -> Advance:
        def advance(z: Tensor, g: Tensor) -> Tensor:
            return z.add(g, alpha=self.damping)

        return advance
