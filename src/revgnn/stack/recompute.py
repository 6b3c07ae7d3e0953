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

from revgnn.stack.arguments import BlockArguments
from revgnn.stack.execution import Execution
from revgnn.stack.replay import Conditions, frozen_statistics, modules_in, trainable_parameters


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


class Recomputation(ABC):
    """A function of a state that evaluates modules once in its forward and once in its backward pass.

    Attributes:
        conditions: the random numbers and autocast that both evaluations have; None under `torch.compile`.
        modules: the modules.
        arguments: what they are called with. The tensors in them that require a gradient get one.
        parameters: the parameters of the modules that require a gradient.
        subject, alternative: what is differentiated, and what to use for a second derivative; for error messages.
    """

    subject: ClassVar[str]
    alternative: ClassVar[str]

    def __init__(self, conditions: Conditions | None, modules: Sequence[nn.Module], arguments: BlockArguments) -> None:
        self.conditions = conditions
        self.modules = modules
        self.arguments = arguments
        self.parameters = trainable_parameters(modules)

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

    def check_versions(self, versions: list[int]) -> None:
        """Raise `RuntimeError` if a parameter or argument has been written to since it had these versions."""
        for tensor, version in zip([*self.parameters, *self.arguments.tensors], versions, strict=True):
            if tensor._version != version:
                raise RuntimeError(
                    f"a parameter or argument of shape {tuple(tensor.shape)} was changed in place between the forward and the "
                    f"backward pass (version {tensor._version}, expected {version}), so {self.subject} cannot be evaluated again; "
                    "call backward before the optimiser's step."
                )


class RecomputedLayers(Recomputation):
    """Layers `start` to `stop` (exclusive) of a run of a stack."""

    subject = "a stack that recomputes its activations"
    alternative = "build the stack with gradient=Backprop()"

    def __init__(self, execution: Execution, start: int, stop: int) -> None:
        super().__init__(execution.conditions, execution.layers[start:stop], execution.arguments)
        self.execution = execution
        self.start = start
        self.stop = stop


class _Node(torch.autograd.Function):
    @staticmethod
    def forward(ctx, recomputation: Recomputation, state: Tensor, *tensors: Tensor) -> Tensor:
        out, saved = recomputation.forward(state)
        ctx.recomputation = recomputation
        ctx.versions = [tensor._version for tensor in tensors]
        ctx.save_for_backward(*saved)
        return out

    @staticmethod
    def backward(ctx, grad: Tensor):
        recomputation: Recomputation = ctx.recomputation
        refuse_double_backward(recomputation.subject, recomputation.alternative)
        recomputation.check_versions(ctx.versions)
        leaves = [tensor.detach().requires_grad_() for tensor in recomputation.arguments.tensors]
        sums = GradientSums([*recomputation.parameters, *leaves])
        assert recomputation.conditions is not None
        with recomputation.conditions.around_pass(), frozen_statistics(recomputation.modules):
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
    """Yield a leaf to differentiate by for each parameter: itself, or a copy that replaces it inside if it has tensor hooks.

    A hook must see the whole gradient of its parameter, once, not the part of each evaluation.
    """
    copies = {id(p): p.detach().requires_grad_() for p in parameters if p._backward_hooks}
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


_checked: weakref.WeakSet[nn.Module] = weakref.WeakSet()
"""Modules that `refuse_hidden_dependencies` has found to have none: a memo, so that a step does not walk every graph again."""


def refuse_hidden_dependencies(module: nn.Module, out: Tensor, inputs: Iterable[Tensor], *, once: bool = True) -> None:
    """Raise `RuntimeError` if `out` depends on a leaf that requires a gradient and is not among `inputs`.

    The backward pass of a recomputation cannot return the gradient of such a tensor.

    Args:
        module: the module that computed `out`.
        once: check this module the first time only.
    """
    if once and module in _checked:
        return
    expected = {id(t) for t in inputs}
    nodes, seen = [out.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None and id(leaf) not in expected:
            raise RuntimeError(
                f"{type(module).__name__} uses a tensor of shape {tuple(leaf.shape)} that requires a gradient but is neither "
                "one of its parameters nor an argument, so its gradient would be lost when the block is evaluated again; "
                "register it as a parameter, or pass it as an argument."
            )
        nodes += [child for child, _ in node.next_functions]
    _checked.add(module)
