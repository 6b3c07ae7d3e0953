"""Stacks to differentiate, and the results of a training step to compare."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from revgnn.nn import GENConv, PreActivation
from revgnn.stack import ReversibleStack


class Outcome(NamedTuple):
    """Everything that a training step leaves behind."""

    value: Tensor
    grad_x: Tensor | None
    grads: list[Tensor | None]
    buffers: list[Tensor]
    random: Tensor

    def assert_same(self, other: Outcome, *, grads: bool = True) -> None:
        assert torch.equal(self.value, other.value)
        assert (self.grad_x is None) == (other.grad_x is None)
        assert self.grad_x is None or torch.equal(self.grad_x, other.grad_x)
        for n, (a, b) in enumerate(zip(self.grads, other.grads, strict=True)):
            assert (a is None) == (b is None), f"parameter {n}: {a} against {b}"
            assert not grads or a is None or torch.equal(a, b), f"parameter {n} differs"
        for a, b in zip(self.buffers, other.buffers, strict=True):
            assert torch.equal(a, b)
        assert torch.equal(self.random, other.random), "the strategies leave torch's generator in different states"


def outcome(
    stack: nn.Module, x: Tensor, *args: Any, autocast: torch.dtype | None = None, needs_grad: bool = True, **kwargs: Any
) -> Outcome:
    """Run one training step from fixed seeds, under autocast to a dtype if one is given, and restore its buffers."""
    before = [b.clone() for b in stack.buffers()]
    stack.zero_grad(set_to_none=True)
    x = x.detach().clone().requires_grad_(needs_grad)
    torch.manual_seed(1)
    with torch.autocast("cpu", autocast or torch.bfloat16, enabled=autocast is not None):
        value = stack(x, *args, **kwargs)
    random = torch.get_rng_state()
    torch.manual_seed(2)
    (value * torch.randn_like(value)).sum().backward()
    after = [b.clone() for b in stack.buffers()]
    for buffer, old in zip(stack.buffers(), before, strict=True):
        buffer.copy_(old)
    return Outcome(value.detach(), x.grad, [p.grad for p in stack.parameters()], after, random)


def gen_stack(depth: int, groups: int, width: int, *, norm: str = "layer", dropout: float = 0.0, **kwargs: Any) -> ReversibleStack:
    """Return a reversible stack of GENConv blocks with `width` channels a group."""
    torch.manual_seed(0)
    conv = lambda: GENConv(width, width, "max", norm=norm, bias=True)  # noqa: E731
    blocks = [[PreActivation(conv(), norm, dropout=dropout) for _ in range(groups)] for _ in range(depth)]
    return ReversibleStack(blocks, **kwargs)


class Scale(nn.Module):
    """Multiplies its input by a learned factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, y: Tensor) -> Tensor:
        return y * self.factor
