"""How a solution z = f(z) is differentiated, whatever solver found it: with the memory of one or a few evaluations of f."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from revgnn.equilibrium.record import SolveRecord
from revgnn.equilibrium.solvers import AbstractSolver, Anderson, Step
from revgnn.equilibrium.unroll import check_iterations, iterate


class AbstractEquilibriumGradient(ABC):
    """The gradient of a solution with respect to everything that f depends on.

    The value is the same for all gradients: the solver's best iterate.
    """

    @abstractmethod
    def attach(self, step: Step, z: Tensor, record: SolveRecord) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return a tensor that depends on what f depends on, and a function from the gradient of the solution to its gradient.

        Args:
            step: f, repeatable. It is called with gradients enabled.
            z: the solution, without gradients.
            record: where to add the solves of the backward pass.
        """


@dataclass(frozen=True)
class Implicit(AbstractEquilibriumGradient):
    r"""The exact gradient, by the implicit function theorem (Bai et al. 2019, arXiv:1909.01377): solve $u = J^T u + \bar z$ with
    $J = \partial f / \partial z$ at the solution, then $\bar\theta = (\partial f / \partial \theta)^T u$.

    The graph of one evaluation of f is kept from the forward to the backward pass, and differentiated once in each step of the
    solver. No other intermediate values of f are stored.

    Attributes:
        solver: the solver of the adjoint system, with steps and tolerance of its own. It starts from $\bar z$: if it fails at once,
            the result is the one-step gradient.
    """

    solver: AbstractSolver = field(default_factory=Anderson)

    def attach(self, step: Step, z: Tensor, record: SolveRecord) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        leaf = z.detach().requires_grad_()
        # The backward pass after the adjoint solve reaches this leaf too. Its gradient is not used.
        leaf.register_post_accumulate_grad_hook(_drop_gradient)
        f = step(leaf)

        def solve_adjoint(grad: Tensor) -> Tensor:
            def transposed(u: Tensor) -> Tensor:
                (v,) = torch.autograd.grad(f, leaf, u, retain_graph=True, allow_unused=True)
                return grad if v is None else v + grad

            solution = self.solver.solve(transposed, grad)
            record.add(solution, self.solver, adjoint=True)
            return solution.z

        return f, solve_adjoint


@dataclass(frozen=True)
class Phantom(AbstractEquilibriumGradient):
    r"""An approximate gradient (Geng et al. 2021, arXiv:2111.05177): that of a few damped iterations from the solution,
    $z \leftarrow (1 - \tau) z + \tau f(z)$. Memory O(steps); no second solve.

    Attributes:
        steps: number of iterations. If they converge, more of them come nearer to `Implicit`.
        damping: $\tau$, above 0 and at most 1.
    """

    steps: int = 5
    damping: float = 0.5

    def __post_init__(self) -> None:
        check_iterations(self.steps, self.damping)

    def attach(self, step: Step, z: Tensor, record: SolveRecord) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        return iterate(step, z.detach(), self.steps, self.damping), _identity


def one_step() -> Phantom:
    """Return the Jacobian-free gradient (Fung et al. 2022, arXiv:2103.12803): J is replaced by 0, and f is differentiated once."""
    return Phantom(steps=1, damping=1.0)


def _identity(grad: Tensor) -> Tensor:
    return grad


def _drop_gradient(leaf: Tensor) -> None:
    leaf.grad = None
