"""A stack whose layers are cut into pieces, so that the weights of one piece at a time are whole: FSDP2 around each piece.

FSDP2 gathers the weights of a module in a hook before its forward pass, and again in a hook on the gradient of its output. A stack
that recomputes its activations calls its layers a second time from inside an autograd node, past the hooks of the layers: so a hook
must stand around the whole node. A `Piece` is a module whose forward pass is one or several such nodes. It knows the layers of the
stack, but is no part of the network, whose modules and names stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from revgnn.stack import AbstractLayer, Backprop, Checkpoint, GradientStrategy, Reversible, Stack
from revgnn.stack.checkpoint import CheckpointedLayers
from revgnn.stack.execution import Execution, merge, split
from revgnn.stack.reversible import ReversedLayers
from revgnn.stack.snapshot import uncached_parametrizations

Span = tuple[int, int]
"""Layers from the first number to the second (exclusive)."""


class Piece(nn.Module):
    """Some spans of layers of a stack, one after the other.

    Args:
        layers: all layers of the stack, in the order in which they are applied.
        spans: those of the piece. A recomputing strategy makes one autograd node of each.
        gradient: how they are differentiated.

    Attributes:
        cut: owner and name of each parameter that is cut over the processes; `shard_weights` fills it.
        lacking: of these, those that the backward passes of a step have given no gradient so far.
    """

    def __init__(self, layers: Sequence[AbstractLayer], spans: list[Span], gradient: GradientStrategy) -> None:
        super().__init__()
        self.layers = nn.ModuleList(dict.fromkeys(layer for start, stop in spans for layer in layers[start:stop]))
        self.spans = spans
        self.gradient = gradient
        self.cut: list[tuple[nn.Module, str]] = []
        self.lacking: set[int] = set()

    def forward(self, state: Tensor, run: Run | None) -> Tensor:
        """Return the state after the piece. Inside, the weights are whole. With no run, only other processes need them."""
        if run is None:
            return state
        state = _Complete.apply(state, self)
        for start, stop in self.spans:
            state = self._advance(run.execution, state, start, stop)
        return state

    def _advance(self, execution: Execution, state: Tensor, start: int, stop: int) -> Tensor:
        gradient = self.gradient
        if gradient.recomputes and not torch.is_grad_enabled():
            return merge(execution.advance(split(state, execution.groups), start, stop))
        match gradient:
            case Reversible():
                return ReversedLayers(execution, start, stop, gradient.verify).apply(state)
            case Checkpoint():
                return CheckpointedLayers(execution, start, stop, gradient.verify).apply(state)
            case Backprop():
                return merge(execution.advance_with_autograd(split(state, execution.groups), start, stop, execution.arguments))
        raise TypeError(f"{type(gradient).__name__} is no known gradient strategy.")

    def complete_gradients(self) -> None:
        """Give each weight that has no gradient one of -0, which changes no sum, so that all processes exchange the same ones."""
        for n, (owner, name) in enumerate(self.cut):
            parameter = owner._parameters[name]
            assert parameter is not None
            if parameter.grad is None:
                parameter.grad = torch.full_like(parameter, -0.0)
            else:
                self.lacking.discard(n)


class Run:
    """A run of a stack, as an argument of a piece. FSDP2 would take a dataclass among the arguments apart."""

    def __init__(self, execution: Execution) -> None:
        self.execution = execution


class Pieces(nn.Module):
    """All pieces of a stack: the root module of FSDP2."""

    def __init__(self, pieces: list[Piece]) -> None:
        super().__init__()
        self.pieces = nn.ModuleList(pieces)

    def forward(self, state: Tensor, run: Run | None) -> Tensor:
        for piece in self.pieces:
            state = piece(state, run)
        return state


class PieceByPiece(GradientStrategy):
    """Runs a stack by its pieces, each under the strategy that the stack was built with.

    Args:
        announce: called before each run without gradients.
    """

    recomputes = False  # of the run as a whole; the pieces see to it themselves

    def __init__(self, pieces: Pieces, gradient: GradientStrategy, announce: Callable[[], object]) -> None:
        self.pieces = pieces
        self.gradient = gradient
        self.announce = announce

    def __repr__(self) -> str:
        return f"{self.gradient}, in {len(self.pieces.pieces)} pieces"

    def check(self, layers: Sequence[AbstractLayer]) -> None:
        self.gradient.check(layers)

    def run(self, execution: Execution, state: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            self.announce()
        elif not state.requires_grad:
            state = state.detach().requires_grad_()  # FSDP2 looks for the end of a backward pass at the gradient of the input
        if not self.gradient.recomputes:
            return self.pieces(state, Run(execution))
        execution.arguments.note_versions()
        with uncached_parametrizations():
            return self.pieces(state, Run(execution))


class _Complete(torch.autograd.Function):
    """The input of a piece as it is. Its backward pass comes when the gradients of the piece's weights are there."""

    @staticmethod
    def forward(ctx: Any, state: Tensor, piece: Piece) -> Tensor:
        ctx.piece = piece
        return state.view_as(state)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        ctx.piece.complete_gradients()
        return grad, None


def spans_of(stack: Stack, segments: int | None) -> list[Span]:
    """Return the spans between which a stack stores its state: those of its strategy, or `segments` of equal length.

    With plain backpropagation, which stores everything, the default is the square root of the depth.

    Raises:
        ValueError: for segments of checkpointed layers, whose memory depends on the spans of their strategy; and for more segments
            than layers.
    """
    depth, gradient = len(stack.sequence), stack.gradient
    if isinstance(gradient, Checkpoint):
        if segments is not None:
            raise ValueError(f"checkpointed layers are cut where a state is stored, not into segments={segments}; set every=.")
        return [(layers.start, layers.stop) for layers in gradient.ranges(depth)]
    if segments is None:
        segments = gradient.segments if isinstance(gradient, Reversible) else max(1, math.isqrt(depth))
    if not 1 <= segments <= depth:
        raise ValueError(f"a stack of {depth} layers cannot be cut into segments={segments}; choose 1 to {depth}.")
    return [(layers.start, layers.stop) for layers in Reversible(segments).ranges(depth)]


def cut_stack(stack: Stack, segments: int | None = None) -> Pieces:
    """Return the pieces of a stack. Spans that share a parameter are one piece, as all are in a weight-tied stack."""
    layers, spans = stack.sequence, spans_of(stack, segments)
    number = [n for n, (start, stop) in enumerate(spans) for _ in range(start, stop)]
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for place, layer in enumerate(layers):
        for parameter in layer.parameters():
            first.setdefault(id(parameter), number[place])
            last[id(parameter)] = number[place]
    joined = {n for key, start in first.items() for n in range(start + 1, last[key] + 1)}
    groups: list[list[Span]] = []
    for n, span in enumerate(spans):
        if n in joined:
            groups[-1].append(span)
        else:
            groups.append([span])
    return Pieces([Piece(layers, group, stack.gradient) for group in groups])
