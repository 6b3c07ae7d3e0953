"""The exact gradient of a reversible solve: through all its iterations, none of which is stored."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from revgnn.equilibrium.record import SolveRecord
from revgnn.equilibrium.solvers import ReversibleRelaxation
from revgnn.stack.arguments import BlockArguments
from revgnn.stack.execution import Conditions
from revgnn.stack.observation import observe
from revgnn.stack.recompute import (
    GradientSums,
    Recomputation,
    modules_are_watched,
    parameters_without_hooks,
    refuse_hidden_dependencies,
)
from revgnn.stack.snapshot import all_draw_from_own, blocks_to_observe, modules_in


def reversible_equilibrium(
    block: nn.Module,
    z0: Tensor,
    *args: Any,
    solver: ReversibleRelaxation,
    record: SolveRecord | None = None,
    **kwargs: Any,
) -> Tensor:
    """Solve z = f(z) for f(z) = block(z, *args, **kwargs), and differentiate the solve itself.

    The backward pass takes the iterations from last to first and evaluates f once for each, with gradients. Its value gives the
    state before, to the last bit; its graph gives the gradients and is freed. So gradients are those of storing all iterations,
    bit for bit (if f uses a tensor several times, those of one evaluation are summed first), whether or not the iterations
    converged. They approach the gradients of the equilibrium as the iterations do, from a distant start: a start next to the
    solution leaves little to differentiate, but at least two relaxations. Random numbers that f draws are the same in every
    evaluation, and autocast is that of the call. The result cannot be differentiated twice.

    Args:
        block: gives the same value for the same state each time. Its parameters and arguments are the only tensors that require a
            gradient and that it may use. It may change no buffer.
        z0: the initial state, float32 or float64, any shape; not changed. It gets a gradient too.
        args, kwargs: what the block is called with after the state. Gradients reach the tensors in them, also those inside tuples,
            lists and dicts.
        solver: the solver of the state.
        record: where to add the solve.

    Returns:
        The solver's last iterate, shape and dtype of `z0`. For the backward pass it, `z0` and two float64 states are kept, and
        `solver.exact.bits` for each element and evaluation.

    Raises:
        ValueError: if dtype, shape or range of the state do not fit (see `ReversibleRelaxation.iterate`); if the block changes
            a buffer.
        ArithmeticError: if f leaves the range of the solver in the first evaluation.
        RuntimeError: if a gradient would be lost; in the backward pass, if it does not end at `z0`.
    """
    record = SolveRecord() if record is None else record
    conditions = Conditions.now(z0.device)
    conditions.randomness.own_only = all_draw_from_own(modules_in([block]))
    solve = ReversibleSolve(conditions, block, BlockArguments(args, kwargs, groups=1, depth=1), solver, record)
    with solve.conditions.around_pass():
        if torch.is_grad_enabled():
            return solve.apply(z0)
        solution = solver.solve(solve.evaluate, z0)
    record.add(solution, solver)
    return solution.z


class ReversibleSolve(Recomputation):
    """One solve. Its forward pass iterates; its backward pass undoes the iterations."""

    subject = "a reversible solve"
    alternative = "use `unrolled`"
    changed_buffer = (
        "the block changes its buffer {name!r} when it is evaluated, so its second evaluation would give another value; an "
        "equilibrium can contain neither batch norm nor other running statistics."
    )
    conditions: Conditions

    def __init__(
        self, conditions: Conditions, block: nn.Module, arguments: BlockArguments, solver: ReversibleRelaxation, record: SolveRecord
    ) -> None:
        super().__init__(conditions, [block], arguments)
        arguments.note_versions()
        self.block = block
        self.solver = solver
        self.record = record
        self.relaxations = 0
        self.refusing: Tensor | None = None
        """What tensors inside the block depend on, if a loss taken from them is to be refused."""

    def apply(self, state: Tensor) -> Tensor:
        self.refusing = self.anchor(state)
        try:
            return super().apply(state)
        finally:
            self.refusing = None

    def evaluate(self, z: Tensor, arguments: BlockArguments | None = None) -> Tensor:
        """Return f(z), with the random numbers and the autocast of the solve."""
        args, kwargs = (arguments or self.arguments).of_block(0, 0)
        with self.conditions.for_block(0):
            return self.block(z, *args, **kwargs).to(z.dtype)

    def forward(self, state: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        evaluations = itertools.count()
        snapshot = self.snapshot
        observed = blocks_to_observe([self.block], hooked=snapshot.has_hooks, compiled=snapshot.is_compiled)

        def step(z: Tensor) -> Tensor:
            if next(evaluations) == 0:
                return self._checked_evaluation(z)
            return self._observe(z) if observed else self.evaluate(z)

        solution, end = self.solver.iterate(step, state)
        if end.relaxations == 0:
            raise ArithmeticError(
                "the first evaluation of the step is not finite or exceeds a magnitude of 512, the range of a reversible solve; "
                "look for values that are not finite in the input, or put a norm at the end of the step."
            )
        self.record.add(solution, self.solver)
        self.relaxations = end.relaxations
        return end.newest.to(state.dtype, copy=True), (state, end.newest, end.older, *end.cut_bits)

    def backward(self, saved: tuple[Tensor, ...], grad: Tensor, arguments: BlockArguments, sums: GradientSums) -> Tensor:
        z0, newest, older, *cut_bits = saved
        exact, constants, watched = self.solver.exact, arguments.tensors, modules_are_watched()
        # A copy that may be written to: the gradient may be a single number, expanded.
        grad_newest = grad.to(torch.float64).clone(memory_format=torch.contiguous_format)
        grad_older = torch.zeros_like(grad_newest)
        with parameters_without_hooks([self.block], self.parameters) as parameters:
            for n in reversed(range(self.relaxations)):
                z = older.to(z0.dtype).detach().requires_grad_()
                with torch.enable_grad():
                    # hooks for all modules need inputs that are no leaves
                    given = (z.view_as(z), arguments.for_one_block()) if watched else (z, arguments)
                    g = self.solver.damped(z, self.evaluate(*given))
                inputs = [z, *parameters, *constants]
                refuse_hidden_dependencies(self.block, g, inputs, once=False)
                grad_z = None
                if g.requires_grad:
                    grad_g = (grad_newest * exact.b).to(g.dtype)
                    grad_z, *grads = torch.autograd.grad(g, inputs, grad_g, allow_unused=True)
                    sums.add([*self.parameters, *constants], grads)
                newest, older = older, exact.retreat(newest, g.detach(), n // 2, cut_bits)
                del g
                grad_newest *= 1.0 - exact.b
                grad_newest, grad_older = grad_older if grad_z is None else grad_older.add_(grad_z), grad_newest
        self._check_start(exact.start(z0), newest, older)
        return (grad_newest + grad_older).to(z0.dtype)

    def _observe(self, z: Tensor, judge: Callable[[Tensor, list[Tensor]], None] | None = None) -> Tensor:
        """Return f(z). A loss that is taken from inside the block raises an error when it is differentiated."""
        assert self.refusing is not None

        def call(z: Tensor, tensors: list[Tensor]) -> Tensor:
            return self.evaluate(z, self.arguments.with_tensors(tensors))

        name = f"the block {type(self.block).__name__}"
        return observe(self.block, z, self.arguments.tensors, self.refusing, name, call, judge)

    def _checked_evaluation(self, z: Tensor) -> Tensor:
        """Return f(z). Raises if a gradient would be lost, or a buffer changes."""
        before = {name: b._version for name, b in self.block.named_buffers()}

        def judge(f: Tensor, inputs: list[Tensor]) -> None:
            refuse_hidden_dependencies(self.block, f, [*inputs, *self.parameters], once=False)

        f = self._observe(z, judge)
        for name, buffer in self.block.named_buffers():
            if before.get(name) != buffer._version:
                raise ValueError(self.changed_buffer.format(name=name))
        return f

    def _check_start(self, start: Tensor, *states: Tensor) -> None:
        """Raise `RuntimeError` if a state at the end of the backward pass is not the initial one."""
        for state in states:
            if not torch.equal(state, start):
                distance = float((state - start).abs().max())
                raise RuntimeError(
                    f"the backward pass did not end at the initial state, but up to {distance:.3g} away from it, so its "
                    f"gradients are not those of the solve. {type(self.block).__name__} gave other values when it was evaluated "
                    "again, or its arguments were changed: it may not draw from generators other than torch's, nor depend on "
                    "anything that changes."
                )
