"""Gradient checkpointing: some states are stored, the layers between them are run again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from revgnn.stack.layer import AbstractLayer
from revgnn.stack.program import Program, merge, split
from revgnn.stack.segment import AbstractSegment, Gradients, refuse_strangers, without_hooks
from revgnn.stack.shared import Shared
from revgnn.stack.strategy import GradientStrategy


@dataclass(frozen=True)
class Checkpoint(GradientStrategy):
    """Memory O(sqrt(L) N D), two evaluations of each block (Chen et al. 2016, arXiv:1604.06174). Use it for layers without
    an inverse.

    Gradients equal those of `Backprop` bit for bit, but for weights that layers in several pieces share: their sum is taken
    piece by piece.

    Attributes:
        every: layers from one stored state to the next. Default: the square root of the depth.
    """

    every: int | None = None
    recomputes = True

    def __post_init__(self) -> None:
        if self.every is not None and self.every < 1:
            raise ValueError(f"every must be 1 or more layers, got {self.every}.")

    def check(self, layers: Sequence[AbstractLayer]) -> None:
        """Every layer will do."""

    def run(self, program: Program, state: Tensor) -> Tensor:
        depth = len(program.layers)
        every = self.every or max(1, math.isqrt(depth))
        for first in range(0, depth, every):
            state = CheckpointedSegment(program, first, min(first + every, depth)).apply(state)
        return state


class CheckpointedSegment(AbstractSegment):
    """Keeps the state before its layers."""

    def forward(self, state: Tensor) -> tuple[Tensor, Tensor]:
        groups = split(state, self.program.layers[0].groups)
        return merge(self.program.walk(groups, self.first, self.last)), state

    def backward(self, kept: Tensor, grad: Tensor, shared: Shared) -> tuple[Tensor, Gradients]:
        layers = nn.ModuleList(dict.fromkeys(self.program.layers[self.first : self.last]))
        gradients = Gradients([*self.parameters, *shared.tensors])
        with without_hooks(layers, self.parameters) as leaves:
            with torch.enable_grad():
                state = kept.detach().requires_grad_()
                out = merge(self.program.walk(split(state, self.program.layers[0].groups), self.first, self.last, shared))
            refuse_strangers(self.program.layers[self.first], out, [state, *leaves, *shared.tensors])
            before, *rest = torch.autograd.grad(out, [state, *leaves, *shared.tensors], grad, allow_unused=True)
        gradients.add([*self.parameters, *shared.tensors], rest)
        return before, gradients
