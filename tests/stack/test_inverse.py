"""`stack.inverse` returns the state before the layers: on a grid to the last bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from revgnn import shared_dropout_mask
from revgnn.nn import GENConv, PreActivation
from revgnn.ops import round_to_grid
from revgnn.stack import (
    AdditiveCoupling,
    Backprop,
    Checkpoint,
    PerGroup,
    PerLayer,
    ResidualStack,
    Reversible,
    ReversibleStack,
    Stack,
    StateRangeError,
)
from tests.stack.networks import Scale, gen_stack


@pytest.mark.parametrize("gradient", [Reversible(), Reversible(segments=3), Checkpoint(), Backprop()], ids=str)
@pytest.mark.parametrize(("depth", "groups", "norm"), [(3, 2, "batch"), (112, 2, "layer"), (12, 4, "layer")])
@torch.no_grad()
def test_the_inverse_is_exact_on_a_grid(depth: int, groups: int, norm: str, gradient, random_graph) -> None:
    stack = gen_stack(depth, groups, 8, norm=norm, gradient=gradient)
    h = torch.randn(60, 8 * groups)
    before = [b.clone() for b in stack.buffers()]
    out = stack(h, random_graph)
    buffers = [b.clone() for b in stack.buffers()]
    assert torch.equal(stack.inverse(out, random_graph), round_to_grid(h, 14))
    assert norm == "layer" or any(not torch.equal(a, b) for a, b in zip(before, buffers, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(buffers, stack.buffers(), strict=True)), "statistics move in the forward pass only"


@torch.no_grad()
def test_with_arguments_masks_and_dropout(random_graph) -> None:
    """Random numbers are those of the call if the same seed precedes both."""

    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = PreActivation(GENConv(8, 8, aggr="max", norm="layer", bias=True), dropout=0.3)

        def forward(self, y, graph, shift, *, mask):
            return self.inner(y * mask, graph) + shift

    torch.manual_seed(0)
    stack = ReversibleStack([[Shifted(), Shifted()] for _ in range(9)])
    mask = PerGroup([shared_dropout_mask((60, 8), 0.2) for _ in range(2)])
    arguments = (random_graph, PerLayer([torch.tensor(float(n)) for n in range(9)]))
    h = round_to_grid(torch.randn(60, 16), 14)
    torch.manual_seed(5)
    out, after = stack(h, *arguments, mask=mask), torch.get_rng_state()
    torch.manual_seed(5)
    assert torch.equal(stack.inverse(out, *arguments, mask=mask), h)
    assert torch.equal(torch.get_rng_state(), after)
    torch.manual_seed(6)
    assert not torch.equal(stack.inverse(out, *arguments, mask=mask), h)


@torch.no_grad()
def test_tied_layers(random_graph) -> None:
    torch.manual_seed(0)
    stack = Stack(
        [AdditiveCoupling([PreActivation(GENConv(8, 8, aggr="max", norm="layer", bias=True)) for _ in range(2)]) for _ in range(2)],
        repeats=9,
    )
    h = round_to_grid(torch.randn(60, 16), 14)
    assert torch.equal(stack.inverse(stack(h, random_graph), random_graph), h)


@torch.no_grad()
@pytest.mark.parametrize("state", ["plain", "float64"])
def test_other_states_are_as_near_as_rounding_allows(state: str, random_graph) -> None:
    stack = gen_stack(9, 2, 8, state=state)
    h = torch.randn(60, 16)
    torch.testing.assert_close(stack.inverse(stack(h, random_graph), random_graph), h, rtol=0.0, atol=1e-3)


@torch.no_grad()
def test_a_float64_state_of_float64_is_exact(random_graph) -> None:
    stack = gen_stack(28, 2, 8).double()
    h = round_to_grid(torch.randn(60, 16, dtype=torch.float64), 40)
    assert torch.equal(stack.inverse(stack(h, random_graph), random_graph), h)


def test_its_gradient_is_that_of_its_formula() -> None:
    """In float64, where rounding to the grid is below the tolerance."""
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Linear(4, 4), nn.Tanh()).double() for _ in range(2)]
    stack = ReversibleStack([blocks])
    y = torch.randn(7, 8, dtype=torch.float64, requires_grad=True)
    y1, y2 = y.chunk(2, 1)
    x2 = y2 - blocks[1](y1)
    expected = torch.cat([y1 - blocks[0](x2), x2], 1)
    out = stack.inverse(y)
    torch.testing.assert_close(out, expected)
    leaves = [y, *stack.parameters()]
    ours, theirs = (torch.autograd.grad(v.square().sum(), leaves) for v in (out, expected))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_a_stack_on_a_coarser_grid() -> None:
    stack = ReversibleStack([[Scale(1.5), Scale(1.5)] for _ in range(6)])
    x = torch.rand(10, 4) + 0.5
    with pytest.warns(UserWarning, match="Going on"), torch.enable_grad():
        out = stack(x).detach()
    assert stack.coarsened > 0
    assert torch.equal(stack.inverse(out), round_to_grid(x, 14 - stack.coarsened))


@torch.no_grad()
def test_a_state_outside_the_range_of_its_grid_is_refused() -> None:
    """Without gradients the forward pass does not check the range. The inverse would be wrong, and says so."""
    stack = ReversibleStack([[Scale(1.5), Scale(1.5)] for _ in range(6)])
    out = stack(torch.rand(10, 4) + 0.5)
    with pytest.raises(StateRangeError, match="are exact below 1024 only"):
        stack.inverse(out)


def test_a_layer_without_an_inverse_is_refused() -> None:
    with pytest.raises(ValueError, match=r"layer 0 \(Residual\) has no inverse; build the stack of AdditiveCoupling layers"):
        ResidualStack([nn.Linear(4, 4)]).inverse(torch.randn(3, 4))
    with pytest.raises(ValueError, match=r"multiple of the 2 groups, got \(3, 5\)"):
        ReversibleStack([[nn.Linear(2, 2), nn.Linear(2, 2)]]).inverse(torch.randn(3, 5))
