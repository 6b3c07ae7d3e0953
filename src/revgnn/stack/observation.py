"""First evaluations of blocks whose inner tensors may be used outside: by a hook, or because the block keeps one.

A recomputing strategy evaluates blocks without gradients first. A loss taken from a tensor inside a block, such as a hooked
activation or the attention loss of SuperGATConv, would then have no gradient, and nothing would say so. So such a block is
evaluated with a graph that stores nothing, and that raises an error as soon as a gradient passes through it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from revgnn.stack.snapshot import KEEP_TENSORS, OBSERVED


class LostGradientError(RuntimeError):
    """A gradient that a recomputing strategy cannot pass on: that of a tensor inside a block, used outside."""


class Anchor(torch.autograd.Function):
    """A number that depends on all inputs of a recomputation, so that a lost gradient of any of them is noticed."""

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        return torch.zeros(())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        raise AssertionError("no gradient passes through a lost tensor")


class Lost(torch.autograd.Function):
    """A tensor as it is, whose gradient cannot be passed on."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, anchor: Tensor, message: str, sentinel: object) -> Tensor:
        ctx.message = message
        ctx.sentinel = sentinel
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        raise LostGradientError(ctx.message)


class _Sentinel:
    """Lives as long as a graph."""


def observe(
    block: nn.Module,
    y: Tensor,
    tensors: Sequence[Tensor],
    anchor: Tensor,
    where: str,
    call: Callable[[Tensor, list[Tensor]], Tensor],
    judge: Callable[[Tensor, list[Tensor]], None] | None = None,
) -> Tensor:
    """Return `call(y, tensors)` without its graph.

    Tensors inside the block that outlive the call have a graph which raises `LostGradientError` when it is differentiated.

    Args:
        block: what is called.
        y: the input of the block.
        tensors: the tensors among its arguments that require a gradient.
        anchor: depends on everything that the recomputation depends on.
        where: name of the block in the stack.
        judge: called with the value, before it loses its graph, and with `y` and `tensors` as they were given to `call`.
    """
    message = (
        f"a gradient reached a tensor inside {where}, by a loss taken from a hooked activation, from something that the block "
        "keeps, or from a cache of an earlier call. Blocks are evaluated again in the backward pass, and such a gradient would be "
        "lost. Use gradient=Backprop() for a stack or `unrolled` for an equilibrium, take the loss from the value alone, or turn "
        "the cache off."
    )

    def refuse(_: object) -> Tensor:
        raise LostGradientError(message)

    sentinel = _Sentinel()
    alive = weakref.ref(sentinel)
    with torch.enable_grad():
        inputs = [Lost.apply(t, anchor, message, sentinel) for t in (y, *tensors)]
        del sentinel
        with saved_tensors_hooks(_drop, refuse):
            f = call(inputs[0], inputs[1:])
        if judge is not None:
            judge(f, inputs)
    value = f.detach()
    del f, inputs
    if alive() is not None:
        KEEP_TENSORS.add(block)
    OBSERVED[block.training].add(block)
    return value


def _drop(_: Tensor) -> None:
    return None
