"""Networks to differentiate, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from revgnn.graph import Graph
from revgnn.nn import GENConv, PreActivation
from revgnn.stack import ReversibleStack


class Outcome(NamedTuple):
    """All that a training step can be told apart by."""

    value: Tensor
    grad_x: Tensor | None
    grads: list[Tensor | None]
    buffers: list[Tensor]
    random: Tensor

    def assert_same(self, other: Outcome, *, grads: bool = True) -> None:
        assert torch.equal(self.value, other.value)
        assert (self.grad_x is None) == (other.grad_x is None)
        assert self.grad_x is None or torch.equal(self.grad_x, other.grad_x)
        for n, (mine, theirs) in enumerate(zip(self.grads, other.grads, strict=True)):
            assert (mine is None) == (theirs is None), f"parameter {n}: {mine} against {theirs}"
            assert not grads or mine is None or torch.equal(mine, theirs), f"parameter {n} differs"
        for mine, theirs in zip(self.buffers, other.buffers, strict=True):
            assert torch.equal(mine, theirs)
        assert torch.equal(self.random, other.random), "the strategies leave torch's generator in different states"


def outcome(
    stack: nn.Module, x: Tensor, *args: Any, autocast: torch.dtype | None = None, needs_grad: bool = True, **kwargs: Any
) -> Outcome:
    """Run one training step from fixed seeds, under autocast to a type if one is given, and restore the buffers it moved."""
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
    """`width` channels a group."""
    torch.manual_seed(0)
    blocks = [[PreActivation(GENConv(width, width, norm=norm), norm, dropout=dropout) for _ in range(groups)] for _ in range(depth)]
    return ReversibleStack(blocks, **kwargs)


@pytest.fixture(scope="session")
def tolokers(real_data) -> Graph:
    """300 nodes of a real graph and the edges between them."""
    with np.load(real_data / "heterophilous/tolokers/raw/tolokers.npz") as z:
        edges = torch.from_numpy(z["edges"]).t().long()
    return Graph.from_edge_index(torch.cat([edges, edges.flip(0)], 1), 11_758).subgraph(torch.arange(300))


@pytest.fixture
def random_graph() -> Graph:
    torch.manual_seed(0)
    return Graph.from_edge_index(torch.randint(0, 50, (2, 300)), 60)


Step = Callable[..., Outcome]
