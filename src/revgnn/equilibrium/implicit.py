"""How a solution z = f(z) is differentiated, whatever it was solved by: memory of one evaluation of f, not of the iterations."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from revgnn.equilibrium.solvers import AbstractSolver, Anderson, Solution, Status, Step
from revgnn.equilibrium.tally import SolveTally
from revgnn.stack.recordable import refuse_recording
from revgnn.stack.replay import Conditions


class Outcome(NamedTuple):
    """A `Solution` without its state."""

    status: Status
    steps: int
    residual: float
    residuals: list[float]


@dataclass
class SolveRecord:
    """How the solves of one network went: figures to log. The first that does not converge is warned of, and no other.

    Attributes:
        forward, backward: the last solve of the state, and of its adjoint; None before the first.
        solves, failures: how many there were, and how many of them did not converge.
        tally: all solves since it was last taken.
    """

    forward: Outcome | None = None
    backward: Outcome | None = None
    solves: int = 0
    failures: int = 0
    warned: bool = field(default=False, repr=False)
    tally: SolveTally = field(default_factory=SolveTally, repr=False)

    def note(self, solution: Solution, solver: AbstractSolver, *, adjoint: bool = False) -> None:
        """Take in a solve."""
        outcome = Outcome(solution.status, solution.steps, solution.residual, solution.residuals)
        if adjoint:
            self.backward = outcome
        else:
            self.forward = outcome
        self.solves += 1
        self.tally.add(outcome.status is Status.CONVERGED, outcome.steps, outcome.residual, adjoint=adjoint)
        if solution.status is Status.CONVERGED:
            return
        self.failures += 1
        if not self.warned:
            self.warned = True
            system = "the adjoint system of an equilibrium" if adjoint else "an equilibrium"
            warnings.warn(
                f"{system} was not solved to rtol={solver.rtol:g}: {type(solver).__name__} ended as {outcome.status.value} after "
                f"{outcome.steps} steps, at a relative residual of {outcome.residual:.3g}. Its best iterate is used. Allow more "
                "steps or a larger rtol, or penalise the Jacobian. This is said once; failures are counted.",
                stacklevel=2,
            )


class AbstractEquilibriumGradient(ABC):
    """Gradient of a solution by all that f depends on. The value is the same for all: the solver's best iterate."""

    @abstractmethod
    def attach(self, step: Step, z: Tensor, record: SolveRecord) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """A tensor that depends on what is to get a gradient, and what to do with the gradient of z before it is handed to it.

        Args:
            step: f, repeatable. Called with gradients enabled.
            z: the solution, without gradients.
        """


@dataclass(frozen=True)
class Implicit(AbstractEquilibriumGradient):
    r"""The exact gradient, by the implicit function theorem (Bai et al. 2019, arXiv:1909.01377): $u = J^T u + \bar z$ with
    $J = \partial f / \partial z$ at the solution is solved for, then $\bar\theta = (\partial f / \partial \theta)^T u$.

    The graph of one evaluation of f is kept from the forward to the backward pass and walked once for each step of the
    solver; of f's intermediate values nothing else is stored.

    Attributes:
        solver: of the adjoint system; its steps and tolerance are its own. It starts from $\bar z$, so where it fails at once,
            the one-step gradient is left.
    """

    solver: AbstractSolver = field(default_factory=Anderson)

    def attach(self, step: Step, z: Tensor, record: SolveRecord) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        leaf = z.detach().requires_grad_()
        # The backward pass that follows the adjoint solve reaches it too; nobody reads what it leaves there.
        leaf.register_post_accumulate_grad_hook(_forget_gradient)
        f = step(leaf)

        def solve_adjoint(grad: Tensor) -> Tensor:
            def transposed(u: Tensor) -> Tensor:
                (v,) = torch.autograd.grad(f, leaf, u, retain_graph=True, allow_unused=True)
                return grad if v is None else v + grad

            solution = self.solver.solve(transposed, grad)
            record.note(solution, self.solver, adjoint=True)
            return solution.z

        return f, solve_adjoint


@dataclass(frozen=True)
class Phantom(AbstractEquilibriumGradient):
    r"""An approximate gradient (Geng et al. 2021, arXiv:2111.05177): through the last few damped iterations, $z \leftarrow
    (1 - \tau) z + \tau f(z)$ from the solution on. Memory O(steps); no second solve.

    Attributes:
        steps: iterations; the more, the nearer to `Implicit`, where they converge.
        damping: $\tau$, above 0 and at most 1.
    """

    steps: int = 5
    damping: float = 0.5

    def __post_init__(self) -> None:
        _check_iterations(self.steps, self.damping)

    def attach(self, step: Step, z: Tensor, record: SolveRecord) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        return _iterate(step, z.detach(), self.steps, self.damping), _as_it_is


def one_step() -> Phantom:
    """The Jacobian-free gradient (Fung et al. 2022, arXiv:2103.12803): J is taken for 0, f is differentiated once."""
    return Phantom(steps=1, damping=1.0)


def equilibrium(
    step: Step,
    z0: Tensor,
    *,
    solver: AbstractSolver,
    gradient: AbstractEquilibriumGradient | None = None,
    record: SolveRecord | None = None,
) -> Tensor:
    """Solve z = f(z) and make the solution differentiable.

    Gradients reach every parameter and tensor that f uses, as in plain backpropagation; the initial state gets none. Random
    numbers that f draws are the same in every evaluation, and autocast is as it is now; f must have no other effects, so no
    batch norm. Under `torch.no_grad` only the solve is done. Cannot be differentiated twice.

    Args:
        step: f, a function of the state alone; what else it needs it holds.
        z0: where to start, float32 or float64, any shape; not changed.
        solver: of the state.
        gradient: default `Implicit()`.
        record: takes in how the solves went, the adjoint's in the backward pass.

    Returns:
        The solver's best iterate, shape and dtype of `z0`.

    Raises:
        ValueError: if dtype or shape do not fit, see `AbstractSolver.solve`.
    """
    refuse_recording("an equilibrium", "its solver reads after each iteration whether it has converged")
    record = SolveRecord() if record is None else record
    gradient = Implicit() if gradient is None else gradient
    conditions = Conditions.now(z0.device)
    with conditions.own_random_state():
        again = repeatable(step, conditions)
        solution = solver.solve(again, z0)
        record.note(solution, solver)
        if not torch.is_grad_enabled():
            return solution.z
        attached, pull_back = gradient.attach(again, solution.z, record)
    return _Solved.apply(attached, solution.z, pull_back) if attached.requires_grad else solution.z


def unrolled(step: Step, z0: Tensor, *, steps: int, damping: float = 1.0) -> Tensor:
    r"""$z \leftarrow (1 - \tau) z + \tau f(z)$, `steps` times from `z0`, differentiated as it is: a weight-tied network.

    Memory O(steps). To train before there is an equilibrium worth solving for, and to check the others against. Random numbers
    that f draws are the same in every evaluation.
    """
    _check_iterations(steps, damping)
    conditions = Conditions.now(z0.device)
    with conditions.own_random_state():
        return _iterate(repeatable(step, conditions), z0, steps, damping)


def repeatable(step: Step, conditions: Conditions) -> Step:
    """f with the same random numbers and the same autocast in every evaluation. Changes the random state: see
    `Conditions.own_random_state`."""

    def again(z: Tensor) -> Tensor:
        conditions.seed_block(0)
        with conditions.own_autocast():
            return step(z).to(z.dtype)

    return again


def _iterate(step: Step, z: Tensor, steps: int, damping: float) -> Tensor:
    for _ in range(steps):
        z = step(z) if damping == 1.0 else torch.lerp(z, step(z), damping)
    return z


def _check_iterations(steps: int, damping: float) -> None:
    if steps < 1:
        raise ValueError(f"steps must be 1 or more iterations, got {steps}.")
    if not 0.0 < damping <= 1.0:
        raise ValueError(f"damping must be above 0 and at most 1 (1: full steps), got {damping}.")


def _as_it_is(grad: Tensor) -> Tensor:
    return grad


def _forget_gradient(leaf: Tensor) -> None:
    leaf.grad = None


class _Solved(torch.autograd.Function):
    """The value of the solution, and the gradient of what is attached to it."""

    @staticmethod
    def forward(ctx, attached: Tensor, z: Tensor, pull_back: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.pull_back = pull_back
        return z.clone()

    @staticmethod
    def backward(ctx, grad: Tensor):
        if torch.is_grad_enabled():
            raise RuntimeError(
                "an equilibrium cannot be differentiated twice: its backward pass solves a system and records no graph. "
                "For create_graph=True use `unrolled`."
            )
        return ctx.pull_back(grad), None, None
