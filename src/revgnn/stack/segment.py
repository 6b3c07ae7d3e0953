"""Some consecutive layers as one node of the autograd graph: the safety that all recomputing strategies need.

A node is a whole run of layers, never one, so nothing that autograd or the caller still holds has to be destroyed to save memory.
"""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from revgnn.stack.modules import modules_in
from revgnn.stack.program import Program
from revgnn.stack.replay import frozen_statistics
from revgnn.stack.shared import Shared


class Gradients:
    """Sums of gradients by tensor, in the order in which they come."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._tensors = list(tensors)
        self._place = {id(t): n for n, t in enumerate(self._tensors)}
        self.sums: list[Tensor | None] = [None] * len(self._tensors)

    def add(self, tensors: Iterable[Tensor], grads: Iterable[Tensor | None]) -> None:
        for tensor, grad in zip(tensors, grads, strict=True):
            if grad is not None:
                n = self._place[id(tensor)]
                total = self.sums[n]
                self.sums[n] = grad if total is None else total + grad


class AbstractSegment(ABC):
    """Layers `first` to `last` of a program, differentiated by one strategy."""

    def __init__(self, program: Program, first: int, last: int) -> None:
        self.program = program
        self.first = first
        self.last = last
        self.parameters: list[nn.Parameter] = program.parameters(first, last)

    @abstractmethod
    def forward(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """State (N, D) after the layers, and the tensor that `backward` wants to see again. Runs without gradients."""

    @abstractmethod
    def backward(self, kept: Tensor, grad: Tensor, shared: Shared) -> tuple[Tensor, Gradients]:
        """Gradient of the state before the layers, and those of `parameters` and of the tensors of `shared`.

        `shared` holds leaves: what a block is to be called with when it is differentiated by itself.
        """

    def apply(self, state: Tensor) -> Tensor:
        """Run the layers on the state as one node of the autograd graph."""
        return _Node.apply(self, state, *self.parameters, *self.program.shared.tensors)


@contextmanager
def without_hooks(modules: nn.Module, parameters: list[nn.Parameter]) -> Iterator[list[Tensor]]:
    """Leaves to differentiate by, one for each parameter: itself, or a stand-in put in its place for a while if it has
    tensor hooks.

    Hooks are to see a parameter's whole gradient, once; not what each evaluation adds to it.
    """
    stand_in = {id(p): p.detach().requires_grad_() for p in parameters if p._backward_hooks}
    swapped: list[tuple[dict[str, Any], str, Tensor]] = []
    if stand_in:
        for module in modules_in([modules]):
            slots: dict[str, Any] = module._parameters
            swapped += [(slots, name, p) for name, p in slots.items() if id(p) in stand_in]
    for slots, name, parameter in swapped:
        slots[name] = stand_in[id(parameter)]
    try:
        yield [stand_in.get(id(p), p) for p in parameters]
    finally:
        for slots, name, parameter in swapped:
            slots[name] = parameter


_inspected: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def refuse_strangers(modules: nn.Module, out: Tensor, known: Iterable[Tensor], *, once: bool = True) -> None:
    """Check that `out` depends on no tensor that wants a gradient and is not `known`.

    Args:
        once: look at these modules the first time only.

    Raises:
        RuntimeError: if it does: who recomputes has no way to return that gradient.
    """
    if once and modules in _inspected:
        return
    expected = {id(t) for t in known}
    nodes, seen = [out.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None and id(leaf) not in expected:
            raise RuntimeError(
                f"{type(modules).__name__} uses a tensor of shape {tuple(leaf.shape)} that requires a gradient but is neither "
                "one of its parameters nor an argument, so its gradient would be lost when the block is evaluated again; "
                "register it as a parameter, or pass it along as an argument."
            )
        nodes += [child for child, _ in node.next_functions]
    _inspected.add(modules)


class _Node(torch.autograd.Function):
    @staticmethod
    def forward(ctx, segment: AbstractSegment, state: Tensor, *tensors: Tensor) -> Tensor:
        out, kept = segment.forward(state)
        ctx.segment = segment
        ctx.versions = [t._version for t in tensors]
        ctx.save_for_backward(kept)
        return out

    @staticmethod
    def backward(ctx, grad: Tensor):
        segment: AbstractSegment = ctx.segment
        if torch.is_grad_enabled():
            raise RuntimeError(
                f"{type(segment).__name__} cannot be differentiated twice: its backward pass recomputes what it needs "
                "and records no graph. For create_graph=True build the stack with gradient=Backprop()."
            )
        tensors = [*segment.parameters, *segment.program.shared.tensors]
        for tensor, version in zip(tensors, ctx.versions, strict=True):
            if tensor._version != version:
                raise RuntimeError(
                    f"a parameter or shared tensor of shape {tuple(tensor.shape)} was changed in place between the forward and "
                    f"the backward pass (version {tensor._version}, expected {version}), so the layers cannot be recomputed; "
                    "call backward before the optimiser's step."
                )
        conditions = segment.program.conditions
        assert conditions is not None
        leaves = [t.detach().requires_grad_() for t in segment.program.shared.tensors]
        with (
            conditions.own_random_state(),
            frozen_statistics(segment.program.layers[segment.first : segment.last]),
        ):
            before, gradients = segment.backward(ctx.saved_tensors[0], grad, segment.program.shared.replaced(leaves))
        return None, before, *gradients.sums
