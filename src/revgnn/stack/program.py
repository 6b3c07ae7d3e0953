"""A stack in motion: its layers, what they share, the conditions they run under, and the range their state has reached."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from revgnn.ops import grid
from revgnn.stack.layer import AbstractLayer
from revgnn.stack.modules import wanted_parameters
from revgnn.stack.replay import Conditions
from revgnn.stack.shared import Shared


@dataclass
class Program:
    """One run of a stack; strategies ask it to evaluate blocks.

    Attributes:
        layers: the layers in order. A tied stack names one layer several times.
        shared: what blocks are called with after their input.
        conditions: random seed and autocast, or None under `torch.compile`, which keeps its own.
        bits: q of the grid of the state, or None.
        compute: dtype that blocks are given their input in.
        dtype: dtype of the state.
        peak: largest magnitude the state has had, shape (); the strategies' forward passes raise it.
    """

    layers: list[AbstractLayer]
    shared: Shared
    conditions: Conditions | None
    bits: int | None
    compute: torch.dtype
    dtype: torch.dtype
    peak: Tensor | None = field(default=None)

    def evaluate(self, layer: int, i: int, y: Tensor, shared: Shared) -> Tensor:
        """Block `i` of the layer on `y`, as it comes: not rounded, in the block's own dtype."""
        unit = self.layers[layer]
        args, kwargs = shared.arguments(layer, i)
        if self.conditions is None:
            out = unit.blocks[i](y.to(self.compute), *args, **kwargs)
        else:
            self.conditions.seed_block(layer * unit.groups + i)
            with self.conditions.own_autocast():
                out = unit.blocks[i](y.to(self.compute), *args, **kwargs)
        if out.shape != y.shape:
            raise ValueError(
                f"block {i} of layer {layer} ({type(unit.blocks[i]).__name__}) must keep the shape of its input, {tuple(y.shape)}, "
                f"but returned {tuple(out.shape)}; give it as many output channels as input channels."
            )
        return out

    def step(self, layer: int, i: int, x: Tensor, y: Tensor) -> Tensor:
        """`x + f(y)` on the grid, without gradients."""
        out, peak = grid.advance(x, self.evaluate(layer, i, y, self.shared), self.bits)
        self._watch(peak)
        return out

    def differentiable_step(self, layer: int, i: int, x: Tensor, y: Tensor, shared: Shared) -> Tensor:
        """`x + f(y)` on the grid, for autograd.

        The input of the block, and each shared tensor, gets a node of its own: gradients that meet inside a block are
        summed there first, in the same order as when the block is differentiated by itself, so the strategies agree to the
        last bit.
        """
        f = self.evaluate(layer, i, y.view_as(y), shared.aliased())
        out = x + grid.round_to_grid(f.to(x.dtype), self.bits)
        if self.conditions is not None and out.numel():
            self._watch(torch.linalg.vector_norm(out.detach(), torch.inf))
        return out

    def _watch(self, peak: Tensor) -> None:
        self.peak = peak if self.peak is None else torch.maximum(self.peak, peak)

    def walk(self, state: list[Tensor], first: int, last: int, shared: Shared | None = None) -> list[Tensor]:
        """Through the layers `first` to `last` (exclusive): plainly, or for autograd if given what the blocks share."""
        for n in range(first, last):
            if shared is None:
                state = self.layers[n].walk(state, lambda i, x, y, n=n: self.step(n, i, x, y))
            else:
                state = self.layers[n].walk(state, lambda i, x, y, n=n: self.differentiable_step(n, i, x, y, shared))
        return state

    def parameters(self, first: int, last: int) -> list[nn.Parameter]:
        """Those of the layers `first` to `last` that want a gradient, each once."""
        return wanted_parameters(*self.layers[first:last])


def split(state: Tensor, groups: int) -> list[Tensor]:
    """(N, D) to `groups` tensors (N, D / groups), each contiguous and none the state itself."""
    return [part.clone(memory_format=torch.contiguous_format) for part in state.chunk(groups, dim=-1)]


def merge(state: list[Tensor]) -> Tensor:
    """The inverse of `split`."""
    return torch.cat(state, dim=-1)
