"""`PerLayer` values reach all blocks of their layer, at every place of a tied layer, and again in the backward pass."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from revgnn.stack import (
    AdditiveCoupling,
    Backprop,
    Checkpoint,
    GradientStrategy,
    PerGroup,
    PerLayer,
    Reversible,
    ReversibleStack,
    Stack,
)

STRATEGIES: list[GradientStrategy] = [Backprop(), Reversible(), Reversible(segments=2), Checkpoint(), Checkpoint(every=2)]


class Noisy(nn.Module):
    """Adds noise of a given seed, and records the seed and the group."""

    def __init__(self, seen: list[tuple[int, str]]) -> None:
        super().__init__()
        self.seen = seen
        self.lin = nn.Linear(3, 3)

    def forward(self, y: Tensor, *, seed: int, group: str) -> Tensor:
        self.seen.append((seed, group))
        return self.lin(y + torch.randn(3, generator=torch.Generator().manual_seed(seed))).tanh()


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_each_block_gets_the_value_of_its_layer(strategy: GradientStrategy) -> None:
    """Two layers repeated twice have four places. A tied layer is given another value at each place."""
    seen: list[tuple[int, str]] = []
    stack = Stack([AdditiveCoupling([Noisy(seen), Noisy(seen)]) for _ in range(2)], repeats=2, gradient=strategy)
    out = stack(torch.randn(5, 6), seed=PerLayer([7, 8, 9, 10]), group=PerGroup(["first", "second"]))
    forward = [(seed, group) for seed in (7, 8, 9, 10) for group in ("first", "second")]
    assert seen == forward
    seen.clear()
    out.sum().backward()
    assert sorted(seen) == ([] if strategy == Backprop() else sorted(forward))


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_tensors_of_a_layer_get_their_gradients(strategy: GradientStrategy) -> None:
    class Shifted(nn.Module):
        def forward(self, y: Tensor, shift: Tensor) -> Tensor:
            return (y + shift).tanh()

    shifts = [torch.randn(3, dtype=torch.float64, requires_grad=True) for _ in range(4)]
    x = torch.randn(5, 6, dtype=torch.float64)
    stack = ReversibleStack([[Shifted(), Shifted()] for _ in range(4)], gradient=strategy, state="plain")
    grads = torch.autograd.grad(stack(x, PerLayer(shifts)).square().sum(), shifts)
    a, b = x.chunk(2, 1)
    for shift in shifts:
        a = a + (b + shift).tanh()
        b = b + (a + shift).tanh()
    for ours, expected in zip(grads, torch.autograd.grad(torch.cat([a, b], 1).square().sum(), shifts), strict=True):
        torch.testing.assert_close(ours, expected)


def test_as_many_values_as_layers() -> None:
    stack = ReversibleStack([[nn.Linear(3, 3), nn.Linear(3, 3)] for _ in range(4)])
    with pytest.raises(ValueError, match="one value for each of the 4 layers, got 3"):
        stack(torch.randn(5, 6), PerLayer([1, 2, 3]))
