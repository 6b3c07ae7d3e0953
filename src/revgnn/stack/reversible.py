"""Reversible layers: the state before a layer is computed from the state after it, and nothing is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from revgnn.ops import grid
from revgnn.stack.arguments import BlockArguments
from revgnn.stack.execution import Execution, merge, split, split_gradient
from revgnn.stack.layers import AbstractLayer, AbstractReversibleLayer
from revgnn.stack.recompute import (
    GradientSums,
    RecomputedLayers,
    modules_are_watched,
    parameters_without_hooks,
    refuse_hidden_dependencies,
)
from revgnn.stack.snapshot import trainable_parameters
from revgnn.stack.strategy import GradientStrategy


@dataclass(frozen=True)
class Reversible(GradientStrategy):
    """Memory O(N D) at any depth, two evaluations of each block (Li et al. 2021, arXiv:2106.07476).

    The backward pass takes the groups of a layer from last to first and evaluates each block once, with gradients. Its value gives
    the state of the group before the layer. Its graph gives the gradients, and is freed before the next group. Only the activations
    of one block are kept at a time, so more groups need less memory.

    If the state is kept exactly, gradients equal those of `Backprop` bit for bit. With several segments, weights that layers of
    different segments share are an exception: their gradient is summed in another order.

    Attributes:
        segments: number of pieces of the stack; the states between them are stored. More than one limits the drift of a state that
            is not on a grid, and lets data-parallel training exchange the gradients of the last layers early.
        verify: compare a checksum of the state before each segment in the forward pass with that of the state that the backward
            pass arrives at, and raise `RuntimeError` if they differ: gradients would be wrong. A state of kind
            "plain" drifts, so it is not compared.
    """

    segments: int = 1
    verify: bool = True
    recomputes = True

    def __post_init__(self) -> None:
        if self.segments < 1:
            raise ValueError(f"segments must be 1 or more, got {self.segments}.")

    def check(self, layers: Sequence[AbstractLayer]) -> None:
        """Raise `ValueError` for a layer without an inverse, and for more segments than layers."""
        for n, layer in enumerate(layers):
            if not isinstance(layer, AbstractReversibleLayer):
                raise ValueError(
                    f"layer {n} ({type(layer).__name__}) cannot be inverted; choose gradient=Checkpoint() or Backprop(), "
                    "or build the stack of AdditiveCoupling layers."
                )
        if self.segments > len(layers):
            raise ValueError(
                f"a stack of {len(layers)} layers cannot be cut into segments={self.segments}; choose {len(layers)} or less."
            )

    def ranges(self, depth: int) -> list[range]:
        """Return the layers of each segment."""
        return [range(depth * s // self.segments, depth * (s + 1) // self.segments) for s in range(self.segments)]

    def run(self, execution: Execution, state: Tensor) -> Tensor:
        for layers in self.ranges(len(execution.layers)):
            state = ReversedLayers(execution, layers.start, layers.stop, self.verify).apply(state)
        return state


class ReversedLayers(RecomputedLayers):
    """Stores the state after its layers, which the next layers or the head keep anyway. The backward pass reverses the layers."""

    bisection = "Find the layer with gradient=Reversible(segments=L) for L layers, whose error names a single one"

    def __init__(self, execution: Execution, start: int, stop: int, verify: bool) -> None:
        super().__init__(execution, start, stop)
        self.verify = verify and execution.bits is not None
        self.entrance: Tensor | None = None

    def forward(self, state: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        groups = split(state, self.execution.groups)
        if self.verify:
            self.entrance = grid.checksum(groups)
        out = merge(self.execution.advance(groups, self.start, self.stop))
        return out, (out,)

    def backward(self, saved: tuple[Tensor, ...], grad: Tensor, arguments: BlockArguments, sums: GradientSums) -> Tensor:
        execution, constants, watched = self.execution, arguments.tensors, modules_are_watched()
        state, grads = split(saved[0], execution.groups), split_gradient(grad, execution.groups)

        def reverse_step(n: int, i: int, x_new: Tensor, y: Tensor, grad: Tensor) -> tuple[Tensor, Tensor | None]:
            block = execution.layers[n].blocks[i]
            trainable = trainable_parameters([block])
            grad_y = None
            with parameters_without_hooks([block], trainable) as parameters:
                y = y.detach().requires_grad_()
                with torch.enable_grad():
                    # hooks for all modules need inputs that are no leaves
                    given = (y.view_as(y), arguments.for_one_block()) if watched else (y, arguments)
                    f = execution.evaluate(n, i, *given)
                if f.requires_grad:
                    inputs = [y, *parameters, *constants]
                    refuse_hidden_dependencies(block, f, inputs)
                    grad_y, *grads = torch.autograd.grad(f, inputs, grad.to(f.dtype).contiguous(), allow_unused=True)
                    sums.add([*trainable, *constants], grads)
            return grid.retreat(x_new, f.detach(), execution.bits), grad_y

        for n in reversed(execution.evaluated(self.start, self.stop)):
            layer = execution.layers[n]
            assert isinstance(layer, AbstractReversibleLayer)
            layer.reverse(state, grads, partial(reverse_step, n))
        if self.entrance is not None:
            self.check_repeated(state, self.entrance, "before")
        del state
        return merge(grads)
