"""Fixed points z = f(z): what a solver is, what it returns, and when it stops."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import torch
from torch import Tensor

Step = Callable[[Tensor], Tensor]
"""f: a state to a state of the same shape and dtype. Must be deterministic for as long as a solve lasts."""

Advance = Callable[[Tensor, Tensor], Tensor]
"""One iteration under way: `advance(z, g)` takes an iterate and its residual g = f(z) - z, both flat (n,), to the next
iterate, a new tensor. It may keep both arguments, and changes neither."""

OUT_OF_BOUNDS = 1e4
"""A residual this many times larger than the state or the residual a solve began with will not come back."""


class Status(Enum):
    """How a solve ended."""

    CONVERGED = "converged"
    MAX_STEPS = "max_steps"
    DIVERGED = "diverged"


class Solution(NamedTuple):
    """What came of a solve.

    Attributes:
        z: the iterate that f moves least, by ||f(z) - z|| (`ReversibleRelaxation`: the last); shape and dtype of the initial one.
        residuals: relative residual ||f(z) - z|| / ||f(z)|| of each iterate, in order; the first is that of the initial one.
            Not finite where f was not.
        steps: evaluations of f.
        status: CONVERGED if `z` meets the tolerance.
        residual: relative residual of `z`; infinite if f was not finite even there.
    """

    z: Tensor
    residuals: list[float]
    steps: int
    status: Status
    residual: float


@dataclass(frozen=True)
class AbstractSolver(ABC):
    """Finds z with f(z) = z. The state, of whatever shape, is one vector: a graph is one system, not one for each node.

    Attributes:
        max_steps: evaluations of f at most.
        rtol, atol: z is a solution if rms(f(z) - z) <= atol + rtol * rms(f(z)), where rms is the root of the mean square over
            all elements. float32 rarely gets below rtol=1e-6.
    """

    max_steps: int = 30
    rtol: float = 1e-4
    atol: float = 0.0

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise ValueError(f"max_steps must be 1 or more evaluations, got {self.max_steps}.")
        for name, value in (("rtol", self.rtol), ("atol", self.atol)):
            if not (math.isfinite(value) and value >= 0.0):
                raise ValueError(f"{name} must be a finite number of 0 or more, got {value}.")

    @abstractmethod
    def solve(self, step: Step, z0: Tensor) -> Solution:
        """Iterate from `z0` until the tolerance, the limit, or the range is reached. Records no gradients.

        Args:
            step: f.
            z0: float32 or float64, any shape. Not changed.

        Raises:
            ValueError: if the state is of another dtype, or f does not keep its shape and dtype.
        """


@dataclass(frozen=True)
class AbstractIteration(AbstractSolver):
    """A solver whose next iterate follows from the last ones and their residuals."""

    @abstractmethod
    def iteration(self) -> Advance:
        """A fresh iteration, without a history."""

    @torch.no_grad()
    def solve(self, step: Step, z0: Tensor) -> Solution:
        """As the interface says; `z0` itself is returned if nothing better was found.

        Besides what the solver's own history takes, four states are alive, and what `step` needs.
        """
        check_state(z0)
        advance = self.iteration()
        z = best = z0.detach()
        # Not by the relative residual: an iterate that runs away has a small one.
        smallest, residual = math.inf, math.inf
        progress = Progress(self)
        while True:
            f = step(z)
            check_image(f, z)
            g = f - z
            status, gap = progress.judge(f, g)
            del f
            if status is not Status.DIVERGED and gap < smallest:
                best, smallest, residual = z, gap, progress.residuals[-1]
            if status is Status.CONVERGED:
                best, residual = z, progress.residuals[-1]
            if status is not None:
                return Solution(best, progress.residuals, len(progress.residuals), status, residual)
            z = advance(z.reshape(-1), g.reshape(-1)).view_as(z)


class Progress:
    """The residuals of a solve under way, and when it is over.

    Attributes:
        residuals: as in `Solution`.
    """

    def __init__(self, solver: AbstractSolver) -> None:
        self.residuals: list[float] = []
        self._solver = solver
        self._bound: float | None = None

    def judge(self, f: Tensor, g: Tensor) -> tuple[Status | None, float]:
        """How the solve ends here, or None if it goes on; and ||g||, where g = f(z) - z."""
        size, gap = torch.stack([_norm(f), _norm(g)]).tolist()
        self.residuals.append(gap / size if size else (math.inf if gap else 0.0))
        if self._bound is None:
            self._bound = OUT_OF_BOUNDS * max(size, gap)
        solver = self._solver
        if not (math.isfinite(gap) and math.isfinite(size) and gap <= self._bound):
            return Status.DIVERGED, gap
        if gap <= solver.atol * math.sqrt(g.numel()) + solver.rtol * size:
            return Status.CONVERGED, gap
        return Status.MAX_STEPS if len(self.residuals) == solver.max_steps else None, gap


def check_damping(damping: float) -> None:
    """Refuse what is no damping of a step."""
    if not 0.0 < damping <= 1.0:
        raise ValueError(f"damping must be above 0 and at most 1 (1: full steps), got {damping}.")


def check_state(z0: Tensor) -> None:
    """Refuse a dtype that is not solved in."""
    if z0.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"a state is solved for in float32 or float64, got {z0.dtype}; convert it first.")


def check_image(f: Tensor, z: Tensor) -> None:
    """Refuse a step that does not keep shape and dtype of its state."""
    if f.shape != z.shape or f.dtype != z.dtype:
        raise ValueError(
            f"the step must keep shape and dtype of the state, {tuple(z.shape)} {z.dtype}, but returned {tuple(f.shape)} {f.dtype}."
        )


def _norm(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dtype=torch.float64)


PIECE = 2**18


def products(rows: list[Tensor], vector: Tensor) -> Tensor:
    """Inner products of several vectors (n,) with one, summed in float64: float64 (len(rows),), on their device.

    Taken piece by piece, so that no float64 copy of a whole vector is made.
    """
    total = vector.new_zeros(len(rows), dtype=torch.float64)
    for start in range(0, len(vector), PIECE):
        piece = vector[start : start + PIECE].double()
        total += torch.stack([torch.dot(row[start : start + PIECE].double(), piece) for row in rows])
    return total
