"""Gradients of tensors that several stages use: the map of edge features, and weights of tied layers.

One process sums them over its layers from last to first. Stages do the same: a sum begins in the last stage, travels back with the
gradient of the state, and each stage goes on where the next one stopped. So the bits are those of one process.

There are two sums, as in one process. Autograd adds up what comes out of its nodes (`finished`). A stack that reverses its layers
has a node for each segment, which adds up its layers first (`partial`); a cut within a segment hands on that sum too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from revgnn.stack import AbstractLayer, Backprop, Checkpoint, GradientStrategy, Reversible
from revgnn.stack.arguments import BlockArguments
from revgnn.stack.checkpoint import CheckpointedLayers
from revgnn.stack.execution import Execution, merge, split
from revgnn.stack.recompute import GradientSums
from revgnn.stack.reversible import ReversedLayers


@dataclass
class SharedSums:
    """The sums of one part in one stage.

    Attributes:
        sizes: of the shared tensors of the whole network, numbers each.
        tensors: those that this stage uses, as it uses them; None for the others.
        owned: whether this stage is the first that uses it: there the sum ends, and becomes a gradient.
        last_used: those that the last layers of the stage use, up to the beginning of their segment.
        last_begins: whether that beginning is in this stage, so that nothing before it adds to what has arrived as `partial`.
    """

    sizes: list[int]
    tensors: list[Tensor | None]
    owned: list[bool]
    last_used: set[int] = field(default_factory=set)
    last_begins: bool = False
    finished: list[Tensor | None] = field(default_factory=list)
    partial: list[Tensor | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.finished = [None] * len(self.sizes)
        self.partial = [None] * len(self.sizes)

    def arrive(self, grad: Tensor) -> None:
        """Take the sums over from the next stage."""
        both = grad[: 2 * sum(self.sizes)].split(2 * self.sizes)
        self.finished, self.partial = list(both[: len(self.sizes)]), list(both[len(self.sizes) :])
        if self.last_begins:
            for n in {*range(len(self.sizes))} - self.last_used:
                self.finished[n] = both[n] + both[len(self.sizes) + n]
                self.partial[n] = None

    def leave(self, length: int, device: torch.device) -> Tensor:
        """Return the sums for the stage before, float32 (length,). -0 stands for none, since it changes no sum."""
        out = torch.full((length,), -0.0, device=device)
        parts = out[: 2 * sum(self.sizes)].split(2 * self.sizes)
        for part, value in zip(parts, (*self.finished, *self.partial), strict=True):
            if value is not None:
                part.copy_(value)
        return out

    def slot(self, tensor: Tensor) -> int | None:
        """Return the number of a tensor that this stage uses; None if it is not shared."""
        return next((n for n, own in enumerate(self.tensors) if own is tensor), None)


class Entrance(torch.autograd.Function):
    """Where a part enters a stage: its state, what travels with it, and shared tensors, as they are.

    Its backward pass is the last of the stage, and hands the sums on.
    """

    @staticmethod
    def forward(ctx: Any, sums: SharedSums, slots: list[int], state: Tensor, carry: Tensor, *shared: Tensor) -> Any:
        ctx.sums, ctx.slots, ctx.length, ctx.device = sums, slots, len(carry), carry.device
        ctx.set_materialize_grads(False)
        return (state.view_as(state), *(t.view_as(t) for t in shared))

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *grads: Tensor | None) -> Any:
        sums: SharedSums = ctx.sums
        for slot, found in zip(ctx.slots, grads, strict=True):
            sums.finished[slot] = None if found is None else found.reshape(-1)
        ctx.sums = None  # which knows what this node returned: together they would keep what has arrived
        return None, None, grad, sums.leave(ctx.length, ctx.device), *[None] * len(ctx.slots)


class Exit(torch.autograd.Function):
    """Where a part leaves a stage. Its backward pass is the first of the stage, and takes the sums over."""

    @staticmethod
    def forward(ctx: Any, sums: SharedSums, slots: list[int], state: Tensor, carry: Tensor, *shared: Tensor) -> Any:
        ctx.sums, ctx.slots = sums, slots
        ctx.shapes = [t.shape for t in shared]
        return state.view_as(state), carry.view_as(carry)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, grad_carry: Tensor) -> Any:
        sums: SharedSums = ctx.sums
        sums.arrive(grad_carry)
        found = []
        for slot, shape in zip(ctx.slots, ctx.shapes, strict=True):
            value = sums.finished[slot]
            assert value is not None
            found.append(value.view(shape))
            sums.finished[slot] = None  # autograd goes on with it
        return None, None, grad, None, *found


class ContinuedLayers(ReversedLayers):
    """Reversed layers that go on with the sums of the layers after them, in the next stage."""

    def __init__(self, execution: Execution, layers: range, verify: bool, sums: SharedSums | None, begins: bool) -> None:
        super().__init__(execution, layers.start, layers.stop, verify)
        self.sums = sums
        self.begins = begins
        if sums is not None:  # the last layers of a stage are the last to come here
            used = (sums.slot(t) for t in (*self.arguments.tensors, *self.parameters))
            sums.last_used, sums.last_begins = {slot for slot in used if slot is not None}, begins

    def backward(self, saved: tuple[Tensor, ...], grad: Tensor, arguments: BlockArguments, sums: GradientSums) -> Tensor:
        used = self._shared(arguments) if self.sums is not None else []
        shared = self.sums
        for slot, tensor in used:
            assert shared is not None
            before = shared.partial[slot]
            if before is not None:
                sums.add([tensor], [before.view_as(tensor)])
                shared.partial[slot] = None
        grad_state = super().backward(saved, grad, arguments, sums)
        for slot, tensor in used:
            assert shared is not None
            if not (self.begins or shared.owned[slot]):
                total = sums.take(tensor)
                shared.partial[slot] = None if total is None else total.reshape(-1)
        return grad_state

    def _shared(self, arguments: BlockArguments) -> list[tuple[int, Tensor]]:
        """Return the shared tensors that the layers use, as `sums` knows them, with their numbers."""
        assert self.sums is not None
        known = [(self.sums.slot(own), leaf) for own, leaf in zip(self.arguments.tensors, arguments.tensors, strict=True)]
        known += [(self.sums.slot(p), p) for p in self.parameters]
        return [(slot, tensor) for slot, tensor in known if slot is not None]


@dataclass(frozen=True)
class Piece(GradientStrategy):
    """Some layers of a stack, differentiated as the strategy of the whole stack does it.

    Attributes:
        whole: the strategy of the whole stack.
        layers: those of this piece.
        recomputes, given, leaves_state: see `GradientStrategy`.
        sums: of the tensors that other pieces use too; None without gradients.
    """

    whole: GradientStrategy
    layers: range
    recomputes: bool  # pyright: ignore[reportIncompatibleVariableOverride]
    given: torch.dtype | None
    leaves_state: bool
    sums: SharedSums | None = None

    def check(self, layers: Sequence[AbstractLayer]) -> None:
        """Accept all layers: the whole strategy has checked them."""

    def run(self, execution: Execution, state: Tensor) -> Tensor:
        whole, own = self.whole, self.layers
        if isinstance(whole, Backprop):
            groups = split(state, execution.groups)
            return merge(execution.advance_with_autograd(groups, own.start, own.stop, execution.arguments))
        assert isinstance(whole, Reversible | Checkpoint)
        for layers in whole.ranges(len(execution.layers)):
            piece = range(max(layers.start, own.start), min(layers.stop, own.stop))
            if not piece:
                continue
            if isinstance(whole, Reversible):
                node = ContinuedLayers(execution, piece, whole.verify, self.sums, piece.start == layers.start)
            else:
                node = CheckpointedLayers(execution, piece.start, piece.stop, whole.verify)
            state = node.apply(state)
        return state

    def value(self, execution: Execution, state: Tensor) -> Tensor:
        return merge(execution.advance(split(state, execution.groups), self.layers.start, self.layers.stop))
