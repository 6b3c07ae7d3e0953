"""A fixed-point iteration that can be run backwards."""

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
    check_image,
    check_state,
)
from revgnn.equilibrium.solvers.exact import LIMIT, ExactRelaxation


class Trail(NamedTuple):
    """What a solve can be taken back from. f was evaluated at `here` last, and not used.

    Attributes:
        here, other: float64 states.
        relaxations: how many there were. The last one made `here`, from a state before it and f(other).
        cut: bits cut off, in order; see `ExactRelaxation`.
    """

    here: Tensor
    other: Tensor
    relaxations: int
    cut: list[Tensor]


@dataclass(frozen=True)
class ReversibleRelaxation(AbstractSolver):
    r"""Two states relaxed in turn (McCallum, Arora & Foster 2025, arXiv:2509.12917), from $y_0 = z_0$:

    $y_{n+1} = (1 - b)\, y_n + b\, g(z_n)$, $z_{n+1} = (1 - b)\, z_n + b\, g(y_{n+1})$ with
    $g(z) = (1 - \tau)\, z + \tau f(z)$

    $z_n = (z_{n+1} - b\, g(y_{n+1})) / (1 - b)$, $y_n = (y_{n+1} - b\, g(z_n)) / (1 - b)$ takes it back, so it can be
    differentiated exactly, through all its iterations, without storing them: `revgnn.equilibrium.reversible_equilibrium`.

    Deviations from the paper: its $\tau$ is 1; and here the arithmetic is exact, see `ExactRelaxation`. Where f is linear with
    an eigenvalue $\lambda$, the paper's iteration has the eigenvalues of $\mu^2 - (2 (1 - b) + b^2 \lambda^2) \mu + (1 - b)^2$: it
    converges for $|\lambda| < 1$ only, whatever b is. Damping f itself extends that, as for `FixedPoint`, to
    $|1 - \tau + \tau \lambda| < 1$: to eigenvalues of -1 and less. The nearer b is to 1, the nearer are two relaxations to two
    damped steps.

    Every evaluation of f relaxes one state and tells how far the other is from a solution. The solve ends, without using the
    evaluation, with the first state that meets the tolerance, y or z, once both have been relaxed, or else with the last: the
    best is not looked for, as what is returned must be what is differentiated. It also ends, as DIVERGED, where f is not
    finite or exceeds a magnitude of 512, the range of the arithmetic.

    Memory: two float64 states, and `ExactRelaxation.bits` for each element and evaluation if it is to be taken back.

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
                f"a reversible solve relaxes two states and then looks at one: max_steps must be 3 or more, got {self.max_steps}."
            )
        check_damping(self.damping)
        ExactRelaxation(self.relaxation)

    @cached_property
    def exact(self) -> ExactRelaxation:
        """The arithmetic."""
        return ExactRelaxation(self.relaxation)

    def damped(self, z: Tensor, f: Tensor) -> Tensor:
        """g(z), given f(z)."""
        return f if self.damping == 1.0 else torch.lerp(z, f, self.damping)

    def solve(self, step: Step, z0: Tensor) -> Solution:
        return self.iterate(step, z0, keep=False)[0]

    @torch.no_grad()
    def iterate(self, step: Step, z0: Tensor, *, keep: bool = True) -> tuple[Solution, Trail]:
        """As `solve`, and what it can be taken back from.

        Args:
            step: f.
            z0: float32 or float64, any shape, magnitudes up to 512.
            keep: the bits that are cut off, too.

        Raises:
            ValueError: as `solve`, and if `z0` is not finite or too large.
        """
        check_state(z0)
        if not _peak(z0) <= LIMIT:
            raise ValueError(
                f"a reversible solve starts from a finite state of magnitude up to {LIMIT:g}, got {_peak(z0):g}; start from zeros."
            )
        exact, progress = self.exact, Progress(self)
        here = exact.enter(z0)
        other = here.clone()
        cut: list[Tensor] = []
        n = 0
        while True:
            z = here.to(z0.dtype)
            f = step(z)
            check_image(f, z)
            status, _ = progress.judge(f, f - z)
            if not _peak(f) <= LIMIT:
                status = Status.DIVERGED
            if status is Status.CONVERGED and n < 2:
                # there would be nothing to differentiate
                status = None
            if status is not None:
                residual = progress.residuals[-1] if math.isfinite(progress.residuals[-1]) else math.inf
                return Solution(z, progress.residuals, n + 1, status, residual), Trail(here, other, n, cut)
            here, other = exact.advance(other, self.damped(z, f), n // 2, cut), here
            if not keep:
                cut.clear()
            n += 1


def _peak(x: Tensor) -> float:
    return float(torch.linalg.vector_norm(x, math.inf)) if x.numel() else 0.0
