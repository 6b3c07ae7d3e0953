"""One run of a state through the layers of a stack: how a block is evaluated, with and without gradients."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from revgnn.ops import grid
from revgnn.stack.arguments import BlockArguments
from revgnn.stack.layers import AbstractLayer
from revgnn.stack.replay import Conditions


@dataclass
class Execution:
    """One run of a stack. Gradient strategies use it to evaluate blocks.

    Attributes:
        layers: the layers in order. A tied stack has the same layer in several places.
        groups: number of groups of the state, G.
        arguments: what blocks are called with after their input.
        conditions: random numbers and autocast of the run; None under `torch.compile`, which keeps its own.
        bits: q of the grid of the state, or None.
        compute_dtype: dtype of the input of a block.
        peak: largest magnitude of the state so far, shape (), in the forward passes of the strategies; None before the first block.
    """

    layers: list[AbstractLayer]
    groups: int
    arguments: BlockArguments
    conditions: Conditions | None
    bits: int | None
    compute_dtype: torch.dtype
    peak: Tensor | None = None

    def evaluate(self, n: int, i: int, y: Tensor, arguments: BlockArguments) -> Tensor:
        """Return f(y) for block `i` of layer `n`: not rounded, in the dtype that the block returns."""
        block = self.layers[n].blocks[i]
        args, kwargs = arguments.of_block(n, i)
        if self.conditions is None:
            f = block(y.to(self.compute_dtype), *args, **kwargs)
        else:
            with self.conditions.for_block(n * self.groups + i):
                f = block(y.to(self.compute_dtype), *args, **kwargs)
        if f.shape != y.shape:
            raise ValueError(
                f"block {i} of layer {n} ({type(block).__name__}) must keep the shape of its input, {tuple(y.shape)}, "
                f"but returned {tuple(f.shape)}; give it as many output channels as input channels."
            )
        return f

    def advance(self, state: list[Tensor], start: int, stop: int) -> list[Tensor]:
        """Return the groups of the state after layers `start` to `stop` (exclusive). Records no gradients."""

        def step(n: int, i: int, x: Tensor, y: Tensor) -> Tensor:
            out, peak = grid.advance(x, self.evaluate(n, i, y, self.arguments), self.bits)
            self._raise_peak(peak)
            return out

        for n in range(start, stop):
            state = self.layers[n].advance(state, partial(step, n))
        return state

    def advance_with_autograd(self, state: list[Tensor], start: int, stop: int, arguments: BlockArguments) -> list[Tensor]:
        """Return the groups of the state after layers `start` to `stop` (exclusive), as a graph of autograd.

        The input of each block, and each tensor of its arguments, gets a node of its own. Gradients that meet inside a block are
        summed there first, in the order of a block that is differentiated alone, so that all strategies agree to the last bit.
        """

        def step(n: int, i: int, x: Tensor, y: Tensor) -> Tensor:
            f = self.evaluate(n, i, y.view_as(y), arguments.for_one_block())
            out = x + grid.round_to_grid(f.to(x.dtype), self.bits)
            if self.conditions is not None and out.numel():
                self._raise_peak(torch.linalg.vector_norm(out.detach(), torch.inf))
            return out

        for n in range(start, stop):
            state = self.layers[n].advance(state, partial(step, n))
        return state

    def _raise_peak(self, peak: Tensor) -> None:
        self.peak = peak if self.peak is None else torch.maximum(self.peak, peak)


def split(state: Tensor, groups: int) -> list[Tensor]:
    """Return a state (N, D) as G new contiguous tensors (N, D / G)."""
    return [part.clone(memory_format=torch.contiguous_format) for part in state.chunk(groups, dim=-1)]


def merge(state: list[Tensor]) -> Tensor:
    """Return the groups of a state as one tensor (N, D)."""
    return torch.cat(state, dim=-1)
