"""`equilibrium`: solve z = f(z) by any solver, and make the solution differentiable by any gradient."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from revgnn.equilibrium.gradient import AbstractEquilibriumGradient, Implicit
from revgnn.equilibrium.record import SolveRecord
from revgnn.equilibrium.solvers import AbstractSolver, Step
from revgnn.equilibrium.unroll import repeatable
from revgnn.stack.execution import Conditions
from revgnn.stack.recompute import refuse_double_backward


def equilibrium(
    step: Step,
    z0: Tensor,
    *,
    solver: AbstractSolver,
    gradient: AbstractEquilibriumGradient | None = None,
    record: SolveRecord | None = None,
) -> Tensor:
    """Solve z = f(z), and return the solution as a differentiable tensor.

    Gradients reach every parameter and tensor that f uses, as in plain backpropagation; the initial state gets none. Random numbers
    that f draws are the same in every evaluation, and autocast is that of the call. f must have no side effects, so it cannot
    contain batch norm. Under `torch.no_grad` only the solve is done. The solution cannot be differentiated twice.

    Args:
        step: f, a function of the state alone. It holds what else it needs.
        z0: the initial state, float32 or float64, any shape; not changed.
        solver: the solver of the state.
        gradient: default `Implicit()`.
        record: where to add the solves; that of the adjoint system is added in the backward pass.

    Returns:
        The solver's best iterate, shape and dtype of `z0`.

    Raises:
        ValueError: if dtype or shape do not fit, see `AbstractSolver.solve`.
    """
    record = SolveRecord() if record is None else record
    gradient = Implicit() if gradient is None else gradient
    conditions = Conditions.now(z0.device)
    with conditions.around_pass():
        f = repeatable(step, conditions)
        solution = solver.solve(f, z0)
        record.add(solution, solver)
        if not torch.is_grad_enabled():
            return solution.z
        attached, pull_back = gradient.attach(f, solution.z, record)
    return _Node.apply(attached, solution.z, pull_back) if attached.requires_grad else solution.z


class _Node(torch.autograd.Function):
    """The value of a solution with the gradient of the tensor that is attached to it."""

    @staticmethod
    def forward(ctx, attached: Tensor, z: Tensor, pull_back: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.pull_back = pull_back
        return z.clone()

    @staticmethod
    def backward(ctx, grad: Tensor):
        refuse_double_backward("an equilibrium", "use `unrolled`")
        return ctx.pull_back(grad), None, None
