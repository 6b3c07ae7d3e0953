"""The exact gradient of a reversible solve: through all its iterations, none of which is stored."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn

from revgnn.equilibrium.implicit import SolveRecord
from revgnn.equilibrium.solvers import ReversibleRelaxation, Solution, Trail
from revgnn.stack.modules import wanted_parameters
from revgnn.stack.recordable import refuse_recording
from revgnn.stack.replay import Conditions
from revgnn.stack.segment import Gradients, refuse_strangers, without_hooks
from revgnn.stack.shared import Shared


def reversible_equilibrium(
    block: nn.Module,
    z0: Tensor,
    *args: Any,
    solver: ReversibleRelaxation,
    record: SolveRecord | None = None,
    **kwargs: Any,
) -> Tensor:
    """Solve z = f(z) for f(z) = block(z, *args, **kwargs), and differentiate the solve itself.

    The backward pass walks the iterations from last to first and evaluates f once for each, with gradients: its value gives
    the state before, to the last bit, and its graph gives the gradients and is freed. So gradients are those of storing all
    iterations, bit for bit (where f uses a tensor several times: if those of one evaluation are summed first), whether they
    converged or not. They come near those of the equilibrium as the iterations do, from far away: a start next to the solution
    leaves little to differentiate, two relaxations at least. Random numbers that f draws are the same in every
    evaluation, and autocast is as it is now. Cannot be differentiated twice.

    Args:
        block: gives the same value for the same state each time. It may use no tensor that wants a gradient but its parameters
            and its arguments, and change no buffer.
        z0: where to start, float32 or float64, any shape; not changed. It gets a gradient too.
        args, kwargs: what the block is called with after the state. Gradients reach the tensors in them, those inside tuples,
            lists and dicts too.
        solver: of the state.
        record: takes in how the solve went.

    Returns:
        The solver's last iterate, shape and dtype of `z0`. Kept for the backward pass: it, `z0`, two float64 states, and
        `solver.exact.bits` for each element and evaluation.

    Raises:
        ValueError: if dtype, shape or range of the state do not fit (see `ReversibleRelaxation.iterate`); if the block changes
            a buffer.
        ArithmeticError: if f leaves the range of the solver at once.
        RuntimeError: if a gradient would be lost; in the backward pass, if the state that is arrived at is not `z0`.
    """
    refuse_recording("an equilibrium", "its solver reads after each iteration whether it has converged")
    solve = _Solve(block, z0, args, kwargs, solver)
    record = SolveRecord() if record is None else record
    with solve.conditions.own_random_state():
        if not torch.is_grad_enabled():
            solution = solver.solve(solve.evaluate, z0)
            record.note(solution, solver)
            return solution.z
        z = _Node.apply(solve, z0, *solve.parameters, *solve.shared.tensors)
    assert solve.solution is not None
    record.note(solve.solution, solver)
    solve.solution = None  # its state lives as long as the caller wants
    return z


class _Solve:
    """One solve: what it runs under, and both ways through it."""

    def __init__(self, block: nn.Module, z0: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any], solver: ReversibleRelaxation):
        self.block = block
        self.solver = solver
        self.conditions = Conditions.now(z0.device)
        self.shared = Shared(args, kwargs, groups=1, depth=1)
        self.parameters = wanted_parameters(block)
        self.solution: Solution | None = None

    def evaluate(self, z: Tensor, shared: Shared | None = None) -> Tensor:
        """f, with the random numbers and the autocast of the solve."""
        args, kwargs = (shared or self.shared).arguments(0, 0)
        self.conditions.seed_block(0)
        with self.conditions.own_autocast():
            return self.block(z, *args, **kwargs).to(z.dtype)

    def first_evaluation(self, z: Tensor) -> Tensor:
        """f as well, and a look at what would go wrong later."""
        before = {name: b._version for name, b in self.block.named_buffers()}
        leaves = [t.detach().requires_grad_() for t in self.shared.tensors]
        z = z.detach().requires_grad_()
        with torch.enable_grad():
            f = self.evaluate(z, self.shared.replaced(leaves))
        refuse_strangers(self.block, f, [z, *self.parameters, *leaves], once=False)
        for name, buffer in self.block.named_buffers():
            if before.get(name) != buffer._version:
                raise ValueError(
                    f"the block changes its buffer {name!r} when it is evaluated, so its second evaluation would give another "
                    "value; an equilibrium can have no batch norm, nor any other moving statistics."
                )
        return f.detach()

    def forward(self, z0: Tensor) -> Trail:
        evaluations = itertools.count()

        def step(z: Tensor) -> Tensor:
            return self.evaluate(z) if next(evaluations) else self.first_evaluation(z)

        self.solution, trail = self.solver.iterate(step, z0)
        if trail.relaxations == 0:
            raise ArithmeticError(
                "the first evaluation of the step is not finite or exceeds a magnitude of 512, the range of a reversible solve; "
                "look for values that are not finite in the input, or put a norm at the end of the step."
            )
        return trail

    def backward(self, trail: Trail, z0: Tensor, grad: Tensor) -> tuple[Tensor, Gradients]:
        """Gradient of z0, and those of the parameters and of the shared tensors."""
        exact = self.solver.exact
        gradients = Gradients([*self.parameters, *self.shared.tensors])
        leaves = [t.detach().requires_grad_() for t in self.shared.tensors]
        shared = self.shared.replaced(leaves)
        here, other, cut = trail.here, trail.other, list(trail.cut)
        # a copy, and one that may be written to: what comes may be a single number, expanded
        grad_here = grad.to(torch.float64).clone(memory_format=torch.contiguous_format)
        grad_other = torch.zeros_like(grad_here)
        with without_hooks(self.block, self.parameters) as parameters:  # pyright: ignore[reportArgumentType]
            for n in reversed(range(trail.relaxations)):
                z = other.to(z0.dtype).detach().requires_grad_()
                with torch.enable_grad():
                    g = self.solver.damped(z, self.evaluate(z, shared))
                inputs = [z, *parameters, *leaves]
                refuse_strangers(self.block, g, inputs, once=False)
                pulled = (grad_here * exact.b).to(g.dtype)
                reached, *rest = torch.autograd.grad(g, inputs, pulled, allow_unused=True) if g.requires_grad else [None]
                gradients.add([*self.parameters, *self.shared.tensors] if rest else [], rest)
                here, other = other, exact.retreat(here, g.detach(), n // 2, cut)
                del g
                grad_here *= 1.0 - exact.b
                grad_here, grad_other = grad_other if reached is None else grad_other.add_(reached), grad_here
        self._check_arrival(exact.enter(z0), here, other)
        return (grad_here + grad_other).to(z0.dtype), gradients

    def _check_arrival(self, start: Tensor, *states: Tensor) -> None:
        for state in states:
            if not torch.equal(state, start):
                away = float((state - start).abs().max())
                raise RuntimeError(
                    f"the solve was not taken back to where it began: the state arrived at is up to {away:.3g} away from the "
                    "initial one, so these gradients are of other iterations than those that were done. "
                    f"{type(self.block).__name__} gave other values when it was evaluated again, or its arguments were changed: "
                    "it may not draw from generators other than torch's, nor depend on anything that moves."
                )


class _Node(torch.autograd.Function):
    @staticmethod
    def forward(ctx, solve: _Solve, z0: Tensor, *tensors: Tensor) -> Tensor:
        trail = solve.forward(z0)
        ctx.solve = solve
        ctx.relaxations = trail.relaxations
        ctx.versions = [t._version for t in tensors]
        ctx.save_for_backward(z0, trail.here, trail.other, *trail.cut)
        return trail.here.to(z0.dtype, copy=True)

    @staticmethod
    def backward(ctx, grad: Tensor):
        solve: _Solve = ctx.solve
        if torch.is_grad_enabled():
            raise RuntimeError(
                "a reversible solve cannot be differentiated twice: its backward pass evaluates the step again and records no "
                "graph. For create_graph=True use `unrolled`."
            )
        for tensor, version in zip([*solve.parameters, *solve.shared.tensors], ctx.versions, strict=True):
            if tensor._version != version:
                raise RuntimeError(
                    f"a parameter or argument of shape {tuple(tensor.shape)} was changed in place between the forward and the "
                    f"backward pass (version {tensor._version}, expected {version}), so the solve cannot be taken back; call "
                    "backward before the optimiser's step."
                )
        z0, here, other, *cut = ctx.saved_tensors
        with solve.conditions.own_random_state():
            before, gradients = solve.backward(Trail(here, other, ctx.relaxations, cut), z0, grad)
        return None, before, *gradients.sums
