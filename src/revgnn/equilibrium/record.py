"""How the solves of a network went: figures to log, and a warning for the first solve that does not converge."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, NamedTuple

from revgnn.equilibrium.solvers import AbstractSolver, Solution, Status


class SolveOutcome(NamedTuple):
    """A `Solution` without its state."""

    status: Status
    steps: int
    residual: float
    residuals: list[float]


@dataclass(frozen=True)
class SolveStatistics:
    """Statistics of the solves of an equilibrium and of its adjoint systems in a period, for example an epoch."""

    solves: int
    failures: int
    """Number of solves that did not converge."""
    forward_steps: float | None
    """Mean number of evaluations of f in a solve of the state; None if there were none."""
    backward_steps: float | None
    """Mean number of steps of an adjoint solve; None if there were none, as in evaluation."""
    median_residual: float | None
    """Median of the relative residuals at the end of the solves, states and adjoints together; None if there were no solves, or if
    it is not finite: in half of the solves f was not finite anywhere."""
    max_residual: float | None
    """Largest relative residual at the end of a solve; None if there were no solves, or if it is not finite."""


class SolveRecord:
    """The solves of one network. Warns of the first one that does not converge, and counts the others.

    Attributes:
        forward, backward: outcome of the last solve of the state, and of its adjoint; None before the first.
        solves, failures: number of all solves, and of those that did not converge.
        warned: whether the warning has been given.
    """

    def __init__(self, *, warned: bool = False) -> None:
        self.forward: SolveOutcome | None = None
        self.backward: SolveOutcome | None = None
        self.solves = 0
        self.failures = 0
        self.warned = warned
        self.restore({})

    def add(self, solution: Solution, solver: AbstractSolver, *, adjoint: bool = False) -> None:
        """Add a solve of the state, or of its adjoint."""
        outcome = SolveOutcome(solution.status, solution.steps, solution.residual, solution.residuals)
        if adjoint:
            self.backward = outcome
        else:
            self.forward = outcome
        converged = solution.status is Status.CONVERGED
        self.solves += 1
        self.failures += not converged
        self._recent_failures += not converged
        self._recent_steps[adjoint].append(solution.steps)
        self._recent_residuals.append(solution.residual)
        if not converged and not self.warned:
            self.warned = True
            system = "the adjoint system of an equilibrium" if adjoint else "an equilibrium"
            warnings.warn(
                f"{system} was not solved to rtol={solver.rtol:g}: {type(solver).__name__} ended as {outcome.status.value} after "
                f"{outcome.steps} steps, at a relative residual of {outcome.residual:.3g}. Its best iterate is used. Allow more "
                "steps or a larger rtol, or penalise the Jacobian. This warning is given once; failures are counted.",
                stacklevel=2,
            )

    def take_statistics(self) -> SolveStatistics:
        """Return the statistics of all solves since the last call, or since the beginning."""
        forward, backward = (fmean(steps) if steps else None for steps in self._recent_steps)
        residuals = self._recent_residuals
        statistics = SolveStatistics(
            solves=len(residuals),
            failures=self._recent_failures,
            forward_steps=forward,
            backward_steps=backward,
            median_residual=_finite(median(residuals)) if residuals else None,
            max_residual=_finite(max(residuals)) if residuals else None,
        )
        self.restore({})
        return statistics

    def state(self) -> dict[str, Any]:
        """Return the solves since the last `take_statistics` as lists of numbers, to continue a run with the same statistics."""
        forward, backward = self._recent_steps
        return {
            "failures": self._recent_failures,
            "forward": list(forward),
            "backward": list(backward),
            "residuals": list(self._recent_residuals),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Set the solves since the last `take_statistics` to what `state` returned; an empty dictionary means no solves."""
        self._recent_failures: int = state.get("failures", 0)
        self._recent_steps: tuple[list[int], list[int]] = (list(state.get("forward", ())), list(state.get("backward", ())))
        self._recent_residuals: list[float] = list(state.get("residuals", ()))


def _finite(value: float) -> float | None:
    """Return the value, or None if it is not finite: JSON has no infinity."""
    return value if math.isfinite(value) else None
