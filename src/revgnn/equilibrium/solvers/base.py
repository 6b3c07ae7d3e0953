"""Solvers of fixed points z = f(z): the interface, the result, and when a solve stops."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

import torch
from torch import Tensor

from revgnn.equilibrium.solvers.totals import WHOLE, Totals

Step = Callable[[Tensor], Tensor]
"""f: from a state to a state of the same shape and dtype. It must be deterministic during a solve."""

Advance = Callable[[Tensor, Tensor], Tensor]
"""`advance(z, g)` returns the next iterate, a new tensor, for an iterate and its residual g = f(z) - z, both flat (n,). It may keep
both arguments, and does not change them."""

OUT_OF_BOUNDS = 1e4
"""A solve has diverged if its residual is this many times larger than the first state or the first residual."""


class Status(Enum):
    """How a solve ended."""

    CONVERGED = "converged"
    MAX_STEPS = "max_steps"
    DIVERGED = "diverged"


class Solution(NamedTuple):
    """The result of a solve.

    Attributes:
        z: the iterate with the smallest ||f(z) - z|| (`ReversibleRelaxation`: the last); shape and dtype of the initial one.
        residuals: relative residual ||f(z) - z|| / ||f(z)|| of each iterate, in order; the first is that of the initial one.
            Not finite where f is not.
        steps: number of evaluations of f.
        status: CONVERGED if `z` meets the tolerance.
        residual: relative residual of `z`; infinite if f is not finite there.
    """

    z: Tensor
    residuals: list[float]
    steps: int
    status: Status
    residual: float


@dataclass(frozen=True)
class AbstractSolver(ABC):
    """Finds z with f(z) = z. The state, of any shape, is one vector: a graph is one system, not one system for each node.

    Attributes:
        max_steps: largest number of evaluations of f.
        rtol, atol: z is a solution if rms(f(z) - z) <= atol + rtol * rms(f(z)), where rms is the root of the mean square over
            all elements. In float32 a solve rarely reaches a rtol below 1e-6.
        totals: how sums over the state are taken; see `Totals`.
    """

    max_steps: int = 30
    rtol: float = 1e-4
    atol: float = 0.0
    totals: Totals = field(default=WHOLE, kw_only=True, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise ValueError(f"max_steps must be 1 or more evaluations, got {self.max_steps}.")
        for name, value in (("rtol", self.rtol), ("atol", self.atol)):
            if not (math.isfinite(value) and value >= 0.0):
                raise ValueError(f"{name} must be a finite number of 0 or more, got {value}.")

    @abstractmethod
    def solve(self, step: Step, z0: Tensor) -> Solution:
        """Iterate from `z0` until the solve has converged, diverged or reached `max_steps`. Records no gradients.

        Args:
            step: f.
            z0: float32 or float64, any shape. Not changed.

        Raises:
            ValueError: if the state has another dtype, or f does not keep its shape and dtype.
        """


@dataclass(frozen=True)
class AbstractIteration(AbstractSolver):
    """A solver that computes the next iterate from the last ones and their residuals."""

    @abstractmethod
    def iteration(self) -> Advance:
        """Return an iteration without a history."""

    @torch.no_grad()
    def solve(self, step: Step, z0: Tensor) -> Solution:
        """Iterate from `z0`; see `AbstractSolver.solve`. `z0` itself is returned if no better iterate is found.

        Memory: four states, the history of the solver, and what `step` needs.
        """
        check_state(z0)
        advance = self.iteration()
        z = best = z0.detach()
        # Not by the relative residual: it is small for iterates that grow without bound.
        smallest, residual = math.inf, math.inf
        progress = Progress(self)
        while True:
            f = step(z)
            check_step(f, z)
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
    """The residuals of a solve so far, and whether it ends.

    Attributes:
        residuals: as in `Solution`.
    """

    def __init__(self, solver: AbstractSolver) -> None:
        self.residuals: list[float] = []
        self._solver = solver
        self._bound: float | None = None

    def judge(self, f: Tensor, g: Tensor) -> tuple[Status | None, float]:
        """Add an iterate. Return the status with which the solve ends here, or None if it goes on; and ||g|| for g = f(z) - z."""
        size, gap = self._solver.totals.norms(torch.stack([_norm(f), _norm(g)])).tolist()
        self.residuals.append(gap / size if size else (math.inf if gap else 0.0))
        if self._bound is None:
            self._bound = OUT_OF_BOUNDS * max(size, gap)
        solver = self._solver
        if not (math.isfinite(gap) and math.isfinite(size) and gap <= self._bound):
            return Status.DIVERGED, gap
        if gap <= solver.atol * math.sqrt(solver.totals.count(g.numel())) + solver.rtol * size:
            return Status.CONVERGED, gap
        return Status.MAX_STEPS if len(self.residuals) == solver.max_steps else None, gap


def check_damping(damping: float) -> None:
    """Raise `ValueError` for a damping that is not above 0 and at most 1."""
    if not 0.0 < damping <= 1.0:
        raise ValueError(f"damping must be above 0 and at most 1 (1: full steps), got {damping}.")


def check_state(z0: Tensor) -> None:
    """Raise `ValueError` for a state that is neither float32 nor float64."""
    if z0.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"the state of a solve must be float32 or float64, got {z0.dtype}; convert it first.")


def check_step(f: Tensor, z: Tensor) -> None:
    """Raise `ValueError` if f(z) does not have the shape and dtype of z."""
    if f.shape != z.shape or f.dtype != z.dtype:
        raise ValueError(
            f"the step must keep shape and dtype of the state, {tuple(z.shape)} {z.dtype}, but returned {tuple(f.shape)} {f.dtype}."
        )


def _norm(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dtype=torch.float64)


CHUNK = 2**18
"""Elements that `inner_products` converts to float64 at a time."""


def inner_products(rows: list[Tensor], vector: Tensor) -> Tensor:
    """Return the inner products of several vectors (n,) with one, summed in float64: float64 (len(rows),), on their device.

    They are computed in chunks, so that no vector is copied to float64 as a whole.
    """
    total = vector.new_zeros(len(rows), dtype=torch.float64)
    for start in range(0, len(vector), CHUNK):
        chunk = vector[start : start + CHUNK].double()
        total += torch.stack([torch.dot(row[start : start + CHUNK].double(), chunk) for row in rows])
    return total
