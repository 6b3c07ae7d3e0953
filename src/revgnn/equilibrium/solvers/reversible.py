"""A fixed-point iteration that can be undone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from revgnn.equilibrium.solvers.base import (
    AbstractSolver,
    Progress,
    Solution,
    Status,
    Step,
    check_damping,
    check_state,
    check_step,
)
from revgnn.equilibrium.solvers.exact import LIMIT, ExactRelaxation


class EndState(NamedTuple):
    """The end of a solve, from which all its iterations can be undone.

    Attributes:
        newest, older: the two states, float64. The last relaxation made `newest`, from the state before it and f(`older`).
        relaxations: number of relaxations.
        cut_bits: the bits cut off, in order; see `ExactRelaxation`.
    """

    newest: Tensor
    older: Tensor
    relaxations: int
    cut_bits: list[Tensor]


@dataclass(frozen=True)
class ReversibleRelaxation(AbstractSolver):
    r"""Two states relaxed in turn (McCallum, Arora & Foster 2025, arXiv:2509.12917), from $y_0 = z_0$:

    $y_{n+1} = (1 - b)\, y_n + b\, g(z_n)$, $z_{n+1} = (1 - b)\, z_n + b\, g(y_{n+1})$ with
    $g(z) = (1 - \tau)\, z + \tau f(z)$

    $z_n = (z_{n+1} - b\, g(y_{n+1})) / (1 - b)$, $y_n = (y_{n+1} - b\, g(z_n)) / (1 - b)$ undoes an iteration, so a
    solve can be differentiated exactly without storing its iterations: `revgnn.equilibrium.reversible_equilibrium`.

    Deviations from the paper: its $\tau$ is 1; and here the arithmetic is exact, see `ExactRelaxation`. If f is linear with an
    eigenvalue $\lambda$, the paper's iteration has the eigenvalues of $\mu^2 - (2 (1 - b) + b^2 \lambda^2) \mu + (1 - b)^2$: it
    converges only for $|\lambda| < 1$, for any b. Damping f itself extends this, as for `FixedPoint`, to
    $|1 - \tau + \tau \lambda| < 1$: to eigenvalues of -1 and less. The nearer b is to 1, the nearer are two relaxations to two
    damped steps.

    Every evaluation of f relaxes one state and gives the residual of the other. The solve ends with the first state that meets the
    tolerance, y or z, after both have been relaxed, or else with the last one; the last evaluation is not used. The solver does not
    return the best state, because the state that is returned must be the one that is differentiated. It also ends, as DIVERGED, if
    f is not finite or exceeds a magnitude of 512, the range of the arithmetic.

    Memory: two float64 states; if it is to be undone, also `ExactRelaxation.bits` for each element and evaluation.

    Attributes:
        damping: $\tau$, above 0 and at most 1.
        relaxation: b, above 0 and below 1, a multiple of 1/64.
    """

    damping: float = 0.75
    relaxation: float = 0.9375

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_steps < 3:
            raise ValueError(
                f"a reversible solve relaxes two states and then checks one: max_steps must be 3 or more, got {self.max_steps}."
            )
        check_damping(self.damping)
        ExactRelaxation(self.relaxation)

    @cached_property
    def exact(self) -> ExactRelaxation:
        """The exact arithmetic of the relaxation."""
        return ExactRelaxation(self.relaxation)

    def damped(self, z: Tensor, f: Tensor) -> Tensor:
        """Return g(z), given f(z)."""
        return f if self.damping == 1.0 else torch.lerp(z, f, self.damping)

    def solve(self, step: Step, z0: Tensor) -> Solution:
        return self.iterate(step, z0, keep_bits=False)[0]

    @torch.no_grad()
    def iterate(self, step: Step, z0: Tensor, *, keep_bits: bool = True) -> tuple[Solution, EndState]:
        """Solve, and return the solution and the state from which the solve can be undone.

        Args:
            step: f.
            z0: float32 or float64, any shape, magnitudes up to 512.
            keep_bits: keep the bits that are cut off. Without them the solve cannot be undone.

        Raises:
            ValueError: see `AbstractSolver.solve`; also if `z0` is not finite or too large.
        """
        check_state(z0)
        magnitude = self.totals.largest(_largest_magnitude(z0))
        if not magnitude <= LIMIT:
            raise ValueError(
                f"a reversible solve starts from a finite state of magnitude up to {LIMIT:g}, got {magnitude:g}; start from zeros."
            )
        exact, progress = self.exact, Progress(self)
        newest = exact.start(z0)
        older = newest.clone()
        cut_bits: list[Tensor] = []
        n = 0
        while True:
            z = newest.to(z0.dtype)
            f = step(z)
            check_step(f, z)
            status, _ = progress.judge(f, f - z)
            if not self.totals.largest(_largest_magnitude(f)) <= LIMIT:
                status = Status.DIVERGED
            if status is Status.CONVERGED and n < 2:
                # Otherwise there would be nothing to differentiate.
                status = None
            if status is not None:
                residual = progress.residuals[-1] if math.isfinite(progress.residuals[-1]) else math.inf
                return Solution(z, progress.residuals, n + 1, status, residual), EndState(newest, older, n, cut_bits)
            newest, older = exact.advance(older, self.damped(z, f), n // 2, cut_bits), newest
            if not keep_bits:
                cut_bits.clear()
            n += 1


def _largest_magnitude(x: Tensor) -> float:
    return float(torch.linalg.vector_norm(x, math.inf)) if x.numel() else 0.0
