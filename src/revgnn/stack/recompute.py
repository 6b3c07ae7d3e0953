"""A computation as one node of the autograd graph, whose backward pass evaluates modules a second time.

The node covers several layers, or a whole solve of an equilibrium, never a single layer of many. So memory is saved without
freeing tensors that autograd or the caller still uses.
"""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_hooks

from revgnn.ops import grid
from revgnn.stack.arguments import BlockArguments
from revgnn.stack.execution import Conditions, Execution
from revgnn.stack.observation import Anchor, Lost, LostGradientError
from revgnn.stack.snapshot import Snapshot, blocks_to_observe, modules_in


class GradientSums:
    """The gradient of each tensor: the sum of its parts, in the order in which they are added."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._index = {id(tensor): n for n, tensor in enumerate(tensors)}
        self.sums: list[Tensor | None] = [None] * len(self._index)

    def add(self, tensors: Iterable[Tensor], grads: Iterable[Tensor | None]) -> None:
        """Add one part for each tensor, None for a tensor that was not used."""
        for tensor, grad in zip(tensors, grads, strict=True):
            if grad is not None:
                n = self._index[id(tensor)]
                total = self.sums[n]
                self.sums[n] = grad if total is None else total + grad

    def take(self, tensor: Tensor) -> Tensor | None:
        """Return the sum of a tensor so far, and begin it anew."""
        n = self._index[id(tensor)]
        total, self.sums[n] = self.sums[n], None
        return total


class Recomputation(ABC):
    """A function of a state that evaluates modules once in its forward and once in its backward pass.

    Attributes:
        conditions: the random numbers and autocast that both evaluations have; None under `torch.compile`.
        snapshot: the modules as the first evaluation finds them.
        arguments: what they are called with. The tensors in them that require a gradient get one.
        subject, alternative: what is differentiated, and what to use for a second derivative; for error messages.
        changed_buffer: the error for a block that changes the buffer `name`.
    """

    subject: ClassVar[str]
    alternative: ClassVar[str]
    changed_buffer: ClassVar[str]

    def __init__(
        self,
        conditions: Conditions | None,
        roots: Sequence[nn.Module],
        arguments: BlockArguments,
        first: int = 0,
        modules: list[nn.Module] | None = None,
    ) -> None:
        self.conditions = conditions
        self.snapshot = Snapshot(roots, first, modules)
        self.arguments = arguments

    @property
    def modules(self) -> list[nn.Module]:
        """The modules that are evaluated, each once."""
        return self.snapshot.roots

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Their parameters that require a gradient in the forward pass."""
        return self.snapshot.parameters

    @abstractmethod
    def forward(self, state: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the value, and the tensors to save for `backward`. Runs without gradients."""

    @abstractmethod
    def backward(self, saved: tuple[Tensor, ...], grad: Tensor, arguments: BlockArguments, sums: GradientSums) -> Tensor:
        """Return the gradient of the state.

        Args:
            saved: the tensors that `forward` returned.
            grad: gradient of the value.
            arguments: `arguments` with leaves in place of the tensors that require a gradient.
            sums: where to add the gradients of `parameters` and of those leaves.
        """

    def apply(self, state: Tensor) -> Tensor:
        """Return the value for this state, as one node of the autograd graph."""
        return _Node.apply(self, state, *self.parameters, *self.arguments.tensors)

    def anchor(self, state: Tensor) -> Tensor:
        """Return a number that depends on all inputs of the node; see `observe`."""
        return Anchor.apply(state, *self.parameters, *self.arguments.tensors)

    def end_forward(self) -> None:
        """Note what the forward pass has left behind.

        Raises:
            ValueError: if a block has changed a buffer that its value may depend on.
        """
        name = self.snapshot.changed_buffer()
        if name is not None:
            raise ValueError(self.changed_buffer.format(name=name))
        self.snapshot.note_versions()

    def check_versions(self) -> None:
        """Raise `RuntimeError` if a parameter, buffer or argument has been written to since the forward pass."""
        self.snapshot.check(self.subject)
        self.arguments.check_versions(self.subject)


class RecomputedLayers(Recomputation):
    """Layers `start` to `stop` (exclusive) of a run of a stack."""

    subject = "a stack that recomputes its activations"
    alternative = "build the stack with gradient=Backprop()"
    changed_buffer = (
        "a block changes its buffer {name!r} when it is evaluated, so a second evaluation would give other values (the statistics "
        "of batch norm are no problem); choose gradient=Backprop(), which evaluates each block once."
    )

    def __init__(self, execution: Execution, start: int, stop: int) -> None:
        is_whole = stop - start == len(execution.layers)
        modules = execution.modules if is_whole else None
        super().__init__(execution.conditions, execution.layers[start:stop], execution.arguments, start, modules)
        self.snapshot.refuse_sharded_parameters()
        self.execution = execution
        self.start = start
        self.stop = stop

    def apply(self, state: Tensor) -> Tensor:
        execution = self.execution
        blocks = dict.fromkeys(block for layer in execution.layers[self.start : self.stop] for block in layer.blocks)
        execution.observed = blocks_to_observe(blocks, hooked=self.snapshot.has_hooks, compiled=self.snapshot.is_compiled)
        if execution.observed:
            execution.anchor = self.anchor(state)
        try:
            return super().apply(state)
        finally:
            execution.anchor = None

    def check_repeated(self, state: Iterable[Tensor], expected: Tensor, place: str) -> None:
        """Check that the second evaluation has led to the state whose checksum is `expected`, at once or after the step.

        Args:
            place: where the state was compared: "before" or "after".
        """
        assert self.conditions is not None
        self.conditions.host_access.check_repeated(
            (grid.checksum(state) == expected).all(),
            f"layers {self.start} to {self.stop - 1} of the stack gave other values when they were evaluated again: the state "
            f"{place} them is not that of the forward pass, so gradients would be wrong. Something that a block depends on "
            "differs: numbers drawn from NumPy, Python or a torch.Generator of one's own, or by another thread from torch's "
            "default generator; a counter or cache outside of the module's attributes; data that was changed without torch's "
            f"knowledge (`.data`, NumPy); an operator that is not deterministic. {self.bisection}, or use gradient=Backprop(), "
            "which evaluates each block once.",
        )

    bisection: ClassVar[str]
    """How to find the layer, for the error."""


class _Node(torch.autograd.Function):
    @staticmethod
    def forward(ctx, recomputation: Recomputation, state: Tensor, *tensors: Tensor) -> Tensor:
        out, saved = recomputation.forward(state)
        recomputation.end_forward()
        ctx.recomputation = recomputation
        ctx.save_for_backward(*saved)
        return out

    @staticmethod
    def backward(ctx, grad: Tensor):
        recomputation: Recomputation = ctx.recomputation
        refuse_double_backward(recomputation.subject, recomputation.alternative)
        recomputation.check_versions()
        leaves = [tensor.detach().requires_grad_() for tensor in recomputation.arguments.tensors]
        sums = GradientSums([*recomputation.parameters, *leaves])
        assert recomputation.conditions is not None
        with recomputation.conditions.around_pass(), recomputation.snapshot.restored():
            grad_state = recomputation.backward(ctx.saved_tensors, grad, recomputation.arguments.with_tensors(leaves), sums)
        return None, grad_state, *sums.sums


def refuse_double_backward(subject: str, alternative: str) -> None:
    """Raise `RuntimeError` if the backward pass that calls this is to be differentiated itself."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            f"{subject} cannot be differentiated twice: its backward pass records no graph. For create_graph=True {alternative}."
        )


@contextmanager
def parameters_without_hooks(modules: Iterable[nn.Module], parameters: list[nn.Parameter]) -> Iterator[list[Tensor]]:
    """Yield a leaf to differentiate by for each parameter: itself, or a copy that replaces it inside.

    There is a copy if the parameter has tensor hooks, or is no leaf.

    A hook must see the whole gradient of its parameter, once, not the part of each evaluation. Parameters that are no leaves come
    from `torch.func.functional_call`.
    """
    copies = {id(p): p.detach().requires_grad_() for p in parameters if p._backward_hooks or p.grad_fn is not None}
    replaced: list[tuple[dict[str, Any], str, Tensor]] = []
    if copies:
        for module in modules_in(modules):
            own: dict[str, Any] = module._parameters
            replaced += [(own, name, p) for name, p in own.items() if id(p) in copies]
    for own, name, parameter in replaced:
        own[name] = copies[id(parameter)]
    try:
        yield [copies.get(id(p), p) for p in parameters]
    finally:
        for own, name, parameter in replaced:
            own[name] = parameter


def modules_are_watched() -> bool:
    """Whether hooks for all modules are registered, as by `torch.utils.flop_counter.FlopCounterMode`.

    They may put hooks on the inputs of modules that require a gradient, which torch does not support for leaves while it computes
    the gradients of chosen tensors.
    """
    return bool(module_hooks._global_forward_pre_hooks or module_hooks._global_forward_hooks)


_LOST: Any = Lost._backward_cls  # pyright: ignore[reportAttributeAccessIssue]

_checked: weakref.WeakSet[nn.Module] = weakref.WeakSet()
"""Modules that `refuse_hidden_dependencies` has found to have none: a memo, so that a step does not walk every graph again."""


def refuse_hidden_dependencies(module: nn.Module, out: Tensor, inputs: Sequence[Tensor], *, once: bool = True) -> None:
    """Raise `RuntimeError` if `out` depends on a leaf that requires a gradient and is not among `inputs`, nor behind one of them.

    The backward pass of a recomputation cannot return the gradient of such a tensor.

    Args:
        module: the module that computed `out`.
        once: check this module the first time only.
    """
    if once and module in _checked:
        return
    expected = {id(t) for t in inputs}
    nodes, seen = [out.grad_fn], {t.grad_fn for t in inputs if t.grad_fn is not None}
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(node, _LOST):
            raise LostGradientError(node.message)  # pyright: ignore[reportAttributeAccessIssue]
        leaf = getattr(node, "variable", None)
        if leaf is not None and id(leaf) not in expected:
            raise RuntimeError(
                f"{type(module).__name__} uses a tensor of shape {tuple(leaf.shape)} that requires a gradient but is neither "
                "one of its parameters nor an argument, so its gradient would be lost when the block is evaluated again; "
                "register it as a parameter, or pass it as an argument."
            )
        nodes += [child for child, _ in node.next_functions]
    if once:
        _checked.add(module)
