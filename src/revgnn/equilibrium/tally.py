"""The solves of some stretch of time, an epoch say, added up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any


@dataclass(frozen=True)
class Solves:
    """Figures of the solves of an equilibrium and of its adjoint systems, to log."""

    solves: int
    failures: int
    """How many did not converge."""
    forward_steps: float | None
    """Mean number of evaluations of f in a solve of the state; None if there were none."""
    backward_steps: float | None
    """Mean number of steps of an adjoint solve; None if there were none, as in evaluation."""
    median_residual: float | None
    """Of the relative residuals that solves ended with, states and adjoints together. None if there were no solves, or if it
    is not finite: f was not finite anywhere in half of the solves."""
    max_residual: float | None
    """The largest; None as above, for any of the solves."""


class SolveTally:
    """Takes in solves until they are taken out. It needs a few numbers a solve."""

    def __init__(self) -> None:
        self.restore({})

    def add(self, converged: bool, steps: int, residual: float, *, adjoint: bool) -> None:
        """Take in one solve."""
        self._failures += not converged
        self._steps[adjoint].append(steps)
        self._residuals.append(residual)

    def take(self) -> Solves:
        """All solves since the last call, or since the beginning."""
        forward, backward = (fmean(steps) if steps else None for steps in self._steps)
        residuals = self._residuals
        summary = Solves(
            solves=len(residuals),
            failures=self._failures,
            forward_steps=forward,
            backward_steps=backward,
            median_residual=_finite(median(residuals)) if residuals else None,
            max_residual=_finite(max(residuals)) if residuals else None,
        )
        self.restore({})
        return summary

    def state(self) -> dict[str, Any]:
        """Lists of numbers, for a run that is to go on with the same figures."""
        forward, backward = self._steps
        return {
            "failures": self._failures,
            "forward": list(forward),
            "backward": list(backward),
            "residuals": list(self._residuals),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave; an empty one means no solves."""
        self._failures: int = state.get("failures", 0)
        self._steps: tuple[list[int], list[int]] = (list(state.get("forward", ())), list(state.get("backward", ())))
        self._residuals: list[float] = list(state.get("residuals", ()))


def _finite(value: float) -> float | None:
    """JSON has no infinity."""
    return value if math.isfinite(value) else None
