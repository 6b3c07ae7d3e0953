"""One run of a state through the layers of a stack: its conditions, and how a block is evaluated, with and without gradients."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from revgnn.ops import grid
from revgnn.stack.arguments import BlockArguments
from revgnn.stack.host_access import IMMEDIATE, BlockRandomness, HostAccess
from revgnn.stack.layers import AbstractLayer
from revgnn.stack.observation import observe

_read_only: tuple[weakref.WeakSet[nn.Module], weakref.WeakSet[nn.Module]] = (weakref.WeakSet(), weakref.WeakSet())
"""Blocks that have been seen to leave their input as it is, in evaluation and in training mode: a memo."""

_write: weakref.WeakSet[nn.Module] = weakref.WeakSet()
"""Blocks that have been seen to write to their input."""


def blocks_to_protect_from(layers: Iterable[AbstractLayer]) -> set[nn.Module]:
    """Return the blocks that write to their input, or of which it is not known yet. They are given copies of the state."""
    blocks = (block for layer in layers for block in layer.blocks)
    return {b for b in blocks if b not in _read_only[b.training]}


@dataclass(frozen=True)
class Conditions:
    """The conditions of one run, taken when it starts and restored for each evaluation of a block.

    So a second evaluation gives the bits of the first. What the modules themselves are like is the matter of `snapshot`.

    Attributes:
        device: the device of the state.
        autocast: the dtype of autocast, or None if it is off.
        host_access: how the run accesses the host.
        randomness: the random numbers of its blocks.
    """

    device: torch.device
    autocast: torch.dtype | None
    host_access: HostAccess
    randomness: BlockRandomness

    @classmethod
    def now(cls, device: torch.device, host_access: HostAccess = IMMEDIATE) -> Conditions:
        """Return the conditions of a run that starts now."""
        kind = device.type
        autocast = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        return cls(device, autocast, host_access, host_access.block_randomness(device))

    def around_pass(self) -> AbstractContextManager[None]:
        """Return a context for one pass over the blocks; see `BlockRandomness.around_pass`."""
        return self.randomness.around_pass()

    def for_block(self, place: int) -> AbstractContextManager[object]:
        """Start the random numbers of the block at this place, and return a context with the autocast of the run.

        The cache of autocast is off inside. It would give copies of the weights that were made without gradients to an evaluation
        that needs gradients.
        """
        self.randomness.begin_block(place)
        kind = self.device.type
        if self.autocast is None and not torch.is_autocast_enabled(kind):
            return nullcontext()
        return torch.autocast(kind, self.autocast, enabled=self.autocast is not None, cache_enabled=False)


@dataclass
class Execution:
    """One run of a stack. Gradient strategies use it to evaluate blocks.

    Attributes:
        layers: the layers in order. A tied stack has the same layer in several places.
        groups: number of groups of the state, G.
        arguments: what blocks are called with after their input.
        conditions: random numbers and autocast of the run; None if it is compiled, traced or exported.
        bits: q of the grid of the state, or None.
        compute_dtype: dtype of the input of a block.
        layer_factors: what the values of the blocks of each layer are multiplied by; a layer whose factor is 0 is skipped. None: 1.
        peak: largest magnitude of the state so far, shape (), in the forward passes of the strategies; None before the first block.
        modules: the layers and all modules below them; None if not known.
        protect_from: blocks that are given copies of the state, because they may write to them.
        observed: blocks whose first evaluation has a graph that refuses to be differentiated; see `observation`.
        anchor: depends on all inputs of the recomputation that runs now; None if nothing is observed.
    """

    layers: list[AbstractLayer]
    groups: int
    arguments: BlockArguments
    conditions: Conditions | None
    bits: int | None
    compute_dtype: torch.dtype
    layer_factors: Sequence[float] | None = None
    peak: Tensor | None = None
    modules: list[nn.Module] | None = None
    protect_from: set[nn.Module] = field(default_factory=set)
    observed: set[nn.Module] = field(default_factory=set)
    anchor: Tensor | None = None

    def __post_init__(self) -> None:
        factors, depth = self.layer_factors, len(self.layers)
        if factors is not None and len(factors) != depth:
            raise ValueError(f"layer_factors must have one number for each of the {depth} layers, got {len(factors)}.")

    def evaluated(self, start: int, stop: int) -> Sequence[int]:
        """Return the numbers of the layers from `start` to `stop` (exclusive) that are not skipped."""
        factors = self.layer_factors
        return range(start, stop) if factors is None else [n for n in range(start, stop) if factors[n] != 0.0]

    def describe(self, n: int, i: int) -> str:
        """Return what errors call a block: "block 0 of layer 3 (GENBlock)"."""
        return f"block {i} of layer {n} ({type(self.layers[n].blocks[i]).__name__})"

    def evaluate(self, n: int, i: int, y: Tensor, arguments: BlockArguments) -> Tensor:
        """Return f(y) for block `i` of layer `n`, times the factor of the layer: not rounded, in the dtype that the block returns.

        Raises:
            RuntimeError: if the block writes to its input, which belongs to the stack, and has not done so before.
            ValueError: if it does not keep the shape of its input.
        """
        block = self.layers[n].blocks[i]
        args, kwargs = arguments.of_block(n, i)
        given = y.to(self.compute_dtype)
        if self.conditions is None:
            # A compiler removes the copy if the block does not write to it.
            f = block(given.clone(), *args, **kwargs)
        elif block in self.protect_from and given is y:
            f = self._evaluate_on_copy(n, i, y, args, kwargs)
        else:
            version = None if given is not y or torch.is_inference_mode_enabled() else y._version
            with self.conditions.for_block(n * self.groups + i):
                f = block(given, *args, **kwargs)
            if version is not None and y._version != version:
                raise self._written(n, i)
        if f.shape != y.shape:
            raise ValueError(
                f"{self.describe(n, i)} must keep the shape of its input, {tuple(y.shape)}, "
                f"but returned {tuple(f.shape)}; give it as many output channels as input channels."
            )
        factor = 1.0 if self.layer_factors is None else self.layer_factors[n]
        return f if factor == 1.0 else f * factor

    def _evaluate_on_copy(self, n: int, i: int, y: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """Evaluate a block that may write to its input, and note whether it does."""
        assert self.conditions is not None
        block = self.layers[n].blocks[i]
        copy = y.clone()
        counted = not copy.is_inference()
        version = copy._version if counted else None
        with self.conditions.for_block(n * self.groups + i):
            f = block(copy, *args, **kwargs)
        written = copy._version != version if counted else not torch.equal(copy.nan_to_num(), y.nan_to_num())
        if written:
            _write.add(block)
        elif block not in _write:
            _read_only[block.training].add(block)
            self.protect_from.discard(block)
        return f

    def _written(self, n: int, i: int) -> RuntimeError:
        block = self.layers[n].blocks[i]
        _write.add(block)
        for known in _read_only:
            known.discard(block)
        return RuntimeError(
            f"{self.describe(n, i)} has begun to write to its input in place, which is the state of the stack and belongs to other "
            "layers too; let it begin with x = x.clone(), set inplace=False in its first activation, or run the step again: from "
            "now on the block is given a copy."
        )

    def evaluate_first(self, n: int, i: int, y: Tensor) -> Tensor:
        """Return f(y) without gradients. A block that is observed is evaluated with a graph that refuses to be differentiated."""
        block = self.layers[n].blocks[i]
        if block not in self.observed or self.anchor is None:
            return self.evaluate(n, i, y, self.arguments)

        def call(y: Tensor, tensors: list[Tensor]) -> Tensor:
            return self.evaluate(n, i, y, self.arguments.with_tensors(tensors))

        try:
            return observe(block, y, self.arguments.tensors, self.anchor, self.describe(n, i), call)
        except RuntimeError as error:
            if "modified inplace" in str(error) or "used in an in-place operation" in str(error):
                raise self._written(n, i) from error
            raise

    def advance(self, state: list[Tensor], start: int, stop: int) -> list[Tensor]:
        """Return the groups of the state after layers `start` to `stop` (exclusive). Records no gradients."""

        def step(n: int, i: int, x: Tensor, y: Tensor) -> Tensor:
            out, peak = grid.advance(x, self.evaluate_first(n, i, y), self.bits)
            self._raise_peak(peak)
            return out

        for n in self.evaluated(start, stop):
            state = self.layers[n](state, partial(step, n))
        return state

    def advance_with_autograd(self, state: list[Tensor], start: int, stop: int, arguments: BlockArguments) -> list[Tensor]:
        """Return the groups of the state after layers `start` to `stop` (exclusive), as a graph of autograd.

        The input of each block, and each tensor of its arguments, gets a node of its own. Gradients that meet inside a block are
        summed there first, in the order of a block that is differentiated alone, so that all strategies agree to the last bit.
        """

        def step(n: int, i: int, x: Tensor, y: Tensor) -> Tensor:
            f = self.evaluate(n, i, y.view_as(y), arguments.for_one_block()).to(x.dtype)
            out = x + (contiguous_gradient(f) if self.bits is None else grid.round_to_grid(f, self.bits))
            if self.conditions is not None and out.numel():
                self._raise_peak(torch.linalg.vector_norm(out.detach(), torch.inf))
            return out

        for n in self.evaluated(start, stop):
            state = self.layers[n](state, partial(step, n))
        return state

    def _raise_peak(self, peak: Tensor) -> None:
        self.peak = peak if self.peak is None else torch.maximum(self.peak, peak)


def split(state: Tensor, groups: int) -> list[Tensor]:
    """Return a state (N, D) as G new contiguous tensors (N, D / G).

    Zeros lose their sign, and sums keep it that way: a state that is reversed exactly has the same bits, not only equal values.
    """
    return [(part + 0.0).contiguous() for part in state.chunk(groups, dim=-1)]


def split_gradient(grad: Tensor, groups: int) -> list[Tensor]:
    """Return the gradient (N, D) of a state as G new contiguous tensors (N, D / G)."""
    return [part.clone(memory_format=torch.contiguous_format) for part in grad.chunk(groups, dim=-1)]


def merge(state: list[Tensor]) -> Tensor:
    """Return the groups of a state as one tensor (N, D)."""
    return torch.cat(state, dim=-1)


class _ContiguousGradient(torch.autograd.Function):
    """The value as it is, and its gradient as a contiguous tensor."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.contiguous()


def contiguous_gradient(value: Tensor) -> Tensor:
    """Return the value, with a gradient that is contiguous: other layouts make norms sum in another order."""
    return value if torch.jit.is_tracing() else _ContiguousGradient.apply(value)  # pyright: ignore[reportPrivateImportUsage]
