"""Plain iterations of a step, stored and differentiated like any other computation."""

from __future__ import annotations

import torch
from torch import Tensor

from revgnn.equilibrium.solvers import Step
from revgnn.stack import HostAccess
from revgnn.stack.execution import Conditions
from revgnn.stack.host_access import IMMEDIATE


def unrolled(step: Step, z0: Tensor, *, steps: int, damping: float = 1.0, host_access: HostAccess = IMMEDIATE) -> Tensor:
    r"""Return the result of $z \leftarrow (1 - \tau) z + \tau f(z)$, `steps` times from `z0`: a weight-tied network.

    Memory O(steps). Use it to train before there is an equilibrium to solve for, and to check other gradients. Random numbers that
    f draws are the same in every evaluation.

    Args:
        step: f.
        z0: the initial state.
        steps: number of iterations.
        damping: $\tau$, above 0 and at most 1.
        host_access: how the random numbers are started.
    """
    check_iterations(steps, damping)
    conditions = Conditions.now(z0.device, host_access)
    with conditions.around_pass():
        return iterate(repeatable(step, conditions), z0, steps, damping)


def iterate(step: Step, z: Tensor, steps: int, damping: float) -> Tensor:
    """Return z after this number of damped iterations."""
    for _ in range(steps):
        z = step(z) if damping == 1.0 else torch.lerp(z, step(z), damping)
    return z


def repeatable(step: Step, conditions: Conditions) -> Step:
    """Return f with the same random numbers and the same autocast in every evaluation.

    Call it within `conditions.around_pass()`.
    """

    def evaluate(z: Tensor) -> Tensor:
        with conditions.for_block(0):
            return step(z).to(z.dtype)

    return evaluate


def check_iterations(steps: int, damping: float) -> None:
    """Raise `ValueError` for a number of iterations below 1, or a damping that is not above 0 and at most 1."""
    if steps < 1:
        raise ValueError(f"steps must be 1 or more iterations, got {steps}.")
    if not 0.0 < damping <= 1.0:
        raise ValueError(f"damping must be above 0 and at most 1 (1: full steps), got {damping}.")
