"""Layers and stacks are their formulas."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from revgnn.stack import AdditiveCoupling, Backprop, Residual, ResidualStack, ReversibleStack, Stack, run_stack


@pytest.mark.parametrize("groups", [2, 3, 5])
def test_coupling_is_its_formula(groups: int) -> None:
    blocks = [nn.Linear(4, 4).double() for _ in range(groups)]
    x = torch.randn(7, 4 * groups, dtype=torch.float64)
    parts = x.chunk(groups, 1)
    y = sum(parts[1:])
    expected = []
    for part, block in zip(parts, blocks, strict=True):
        y = part + block(y)
        expected.append(y)
    out = run_stack([AdditiveCoupling(blocks)], x, gradient=Backprop())
    torch.testing.assert_close(out, torch.cat(expected, 1))


@pytest.mark.parametrize("groups", [2, 3, 5])
def test_coupling_is_reversed(groups: int) -> None:
    """In float64 the inverse returns the input."""
    layer = AdditiveCoupling([nn.Sequential(nn.Linear(4, 4), nn.Tanh()).double() for _ in range(groups)])
    x = [torch.randn(7, 4, dtype=torch.float64) for _ in range(groups)]
    with torch.no_grad():
        state = layer.advance(x, lambda i, part, y: part + layer.blocks[i](y))
        grads = [torch.zeros_like(part) for part in x]
        layer.reverse(state, grads, lambda i, new, y, _: (new - layer.blocks[i](y), None))
    for before, after in zip(x, state, strict=True):
        torch.testing.assert_close(after, before, rtol=0, atol=1e-14)


def test_residual_is_its_formula() -> None:
    block, x = nn.Linear(4, 4).double(), torch.randn(7, 4, dtype=torch.float64)
    torch.testing.assert_close(run_stack([Residual(block)], x, gradient=Backprop()), x + block(x))


def test_repeats_are_the_same_layers_again() -> None:
    layer = AdditiveCoupling([nn.Linear(4, 4) for _ in range(2)])
    x = torch.randn(7, 8)
    assert torch.equal(Stack([layer], repeats=5)(x), Stack([layer] * 5)(x))
    assert sum(p.numel() for p in Stack([layer], repeats=5).parameters()) == 2 * 20


def test_a_state_on_the_grid_is_a_multiple_of_it() -> None:
    out = ReversibleStack([[nn.Linear(4, 4), nn.Linear(4, 4)] for _ in range(9)])(torch.randn(7, 8))
    assert torch.equal(out * 2**14, (out * 2**14).round())


def test_float64_state_returns_the_dtype_of_its_input() -> None:
    stack = ReversibleStack([[nn.Linear(4, 4), nn.Linear(4, 4)]], state="float64")
    assert stack(torch.randn(7, 8)).dtype == torch.float32


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ReversibleStack([]), "at least one layer"),
        (lambda: ResidualStack([nn.Linear(2, 2)], state="float16"), "unknown state 'float16'"),
        (lambda: ResidualStack([nn.Linear(2, 2)], repeats=0), "repeats must be 1 or more"),
    ],
)
def test_bad_stacks(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
