"""Gradient checkpointing: some states are stored, and the layers between them are evaluated again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from revgnn.ops import grid
from revgnn.stack.arguments import BlockArguments
from revgnn.stack.execution import Execution, merge, split
from revgnn.stack.layers import AbstractLayer
from revgnn.stack.recompute import GradientSums, RecomputedLayers, parameters_without_hooks, refuse_hidden_dependencies
from revgnn.stack.strategy import GradientStrategy


@dataclass(frozen=True)
class Checkpoint(GradientStrategy):
    """Memory O(sqrt(L) N D), two evaluations of each block (Chen et al. 2016, arXiv:1604.06174).

    Use it for layers without an inverse. Gradients equal those of `Backprop` bit for bit, except for weights that layers between
    different stored states share: their gradient is summed in another order.

    Attributes:
        every: number of layers from one stored state to the next. Default: the square root of the depth.
        verify: compare a checksum of the state after the layers between two stored states, in the forward and in the backward pass,
            and raise `RuntimeError` if they differ: gradients would be wrong.
    """

    every: int | None = None
    verify: bool = True
    recomputes = True

    def __post_init__(self) -> None:
        if self.every is not None and self.every < 1:
            raise ValueError(f"every must be 1 or more layers, got {self.every}.")

    def check(self, layers: Sequence[AbstractLayer]) -> None:
        """Accept all layers."""

    def ranges(self, depth: int) -> list[range]:
        """Return the layers between two stored states, from first to last."""
        every = self.every or max(1, math.isqrt(depth))
        return [range(start, min(start + every, depth)) for start in range(0, depth, every)]

    def run(self, execution: Execution, state: Tensor) -> Tensor:
        for layers in self.ranges(len(execution.layers)):
            state = CheckpointedLayers(execution, layers.start, layers.stop, self.verify).apply(state)
        return state


class CheckpointedLayers(RecomputedLayers):
    """Stores the state before its layers. The backward pass evaluates all of them with gradients, then differentiates them."""

    bisection = "Find the layer with gradient=Checkpoint(every=1), whose error names a single one"

    def __init__(self, execution: Execution, start: int, stop: int, verify: bool) -> None:
        super().__init__(execution, start, stop)
        self.verify = verify
        self.end: Tensor | None = None

    def forward(self, state: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        groups = split(state, self.execution.groups)
        out = merge(self.execution.advance(groups, self.start, self.stop))
        if self.verify:
            self.end = grid.checksum([out])
        return out, (state,)

    def backward(self, saved: tuple[Tensor, ...], grad: Tensor, arguments: BlockArguments, sums: GradientSums) -> Tensor:
        execution, constants = self.execution, arguments.tensors
        with parameters_without_hooks(self.modules, self.parameters) as parameters:
            with torch.enable_grad():
                state = saved[0].detach().requires_grad_()
                groups = split(state, execution.groups)
                out = merge(execution.advance_with_autograd(groups, self.start, self.stop, arguments))
            if self.end is not None:
                self.check_repeated([out], self.end, "after")
            inputs = [state, *parameters, *constants]
            refuse_hidden_dependencies(self.modules[0], out, inputs, once=execution.layer_factors is None)
            grad_state, *grads = torch.autograd.grad(out, inputs, grad, allow_unused=True)
        sums.add([*self.parameters, *constants], grads)
        return grad_state
