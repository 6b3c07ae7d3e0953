"""Reversible layers: the state before a layer is recomputed from the state after it, and nothing is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from revgnn.ops import grid
from revgnn.stack.layer import AbstractLayer, AbstractReversibleLayer
from revgnn.stack.modules import wanted_parameters
from revgnn.stack.program import Program, merge, split
from revgnn.stack.segment import AbstractSegment, Gradients, refuse_strangers, without_hooks
from revgnn.stack.shared import Shared
from revgnn.stack.strategy import GradientStrategy


@dataclass(frozen=True)
class Reversible(GradientStrategy):
    """Memory O(N D) whatever the depth, two evaluations of each block (Li et al. 2021, arXiv:2106.07476).

    The backward pass walks the groups of a layer from last to first and evaluates each block once, with gradients: its
    value gives the group's state before the layer, its graph gives the gradients and is freed before the next group. Only
    one block's activations are alive at a time, so more groups need less memory.

    On a state that is kept exactly, gradients equal those of `Backprop` bit for bit (with `segments`, but for weights that
    layers in several segments share: their sum is taken segment by segment).

    Attributes:
        segments: pieces of the stack; the states between them are stored. More than one bounds the drift of a state that is
            not on a grid, and lets data-parallel training exchange the gradients of the last layers early.
    """

    segments: int = 1
    recomputes = True

    def __post_init__(self) -> None:
        if self.segments < 1:
            raise ValueError(f"segments must be 1 or more, got {self.segments}.")

    def check(self, layers: Sequence[AbstractLayer]) -> None:
        """Every layer must have an inverse."""
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

    def run(self, program: Program, state: Tensor) -> Tensor:
        depth = len(program.layers)
        for s in range(self.segments):
            state = ReversibleSegment(program, depth * s // self.segments, depth * (s + 1) // self.segments).apply(state)
        return state


class ReversibleSegment(AbstractSegment):
    """Keeps the state after its layers, which the next segment or the head needs anyway."""

    def forward(self, state: Tensor) -> tuple[Tensor, Tensor]:
        groups = split(state, self.program.layers[0].groups)
        out = merge(self.program.walk(groups, self.first, self.last))
        return out, out

    def backward(self, kept: Tensor, grad: Tensor, shared: Shared) -> tuple[Tensor, Gradients]:
        program = self.program
        groups = program.layers[0].groups
        state, grads = split(kept, groups), split(grad, groups)
        gradients = Gradients([*self.parameters, *shared.tensors])

        def step_back(n: int, i: int, x_new: Tensor, y: Tensor, grad: Tensor) -> tuple[Tensor, Tensor | None]:
            block = program.layers[n].blocks[i]
            wanted = wanted_parameters(block)
            grad_y = None
            with without_hooks(block, wanted) as leaves:
                y = y.detach().requires_grad_()
                with torch.enable_grad():
                    f = program.evaluate(n, i, y, shared)
                if f.requires_grad:
                    refuse_strangers(block, f, [y, *leaves, *shared.tensors])
                    grad_y, *rest = torch.autograd.grad(f, [y, *leaves, *shared.tensors], grad.to(f.dtype), allow_unused=True)
                    gradients.add([*wanted, *shared.tensors], rest)
            return grid.retreat(x_new, f.detach(), program.bits), grad_y

        for n in reversed(range(self.first, self.last)):
            layer = program.layers[n]
            assert isinstance(layer, AbstractReversibleLayer)
            layer.walk_back(state, grads, lambda i, x, y, g, n=n: step_back(n, i, x, y, g))
        del state
        return merge(grads), gradients
