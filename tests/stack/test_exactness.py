"""Every strategy gives the gradient of backpropagation, bit for bit."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch_geometric.nn import GATConv, SAGEConv

from revgnn import shared_dropout_mask
from revgnn.nn import GENConv, PreActivation
from revgnn.stack import (
    AdditiveCoupling,
    Backprop,
    Checkpoint,
    GradientStrategy,
    PerGroup,
    ResidualStack,
    Reversible,
    ReversibleStack,
    Stack,
)
from tests.stack.networks import gen_stack, outcome

RECOMPUTING: list[GradientStrategy] = [Reversible(), Reversible(segments=3), Checkpoint(), Checkpoint(every=4)]


def assert_exact(stack: Stack, x, *args, grads: bool = True, strategies=RECOMPUTING, **kwargs) -> None:
    stack.gradient = Backprop()
    expected = outcome(stack, x, *args, **kwargs)
    assert expected.value.isfinite().all()
    assert any(g is not None and g.abs().max() > 0 for g in expected.grads)
    for strategy in strategies:
        strategy.check(stack.sequence)
        stack.gradient = strategy
        outcome(stack, x, *args, **kwargs).assert_same(expected, grads=grads)


@pytest.mark.parametrize("depth", [28, 112, pytest.param(448, marks=pytest.mark.slow), 1001])
def test_at_any_depth(depth: int, tolokers) -> None:
    strategies = RECOMPUTING if depth < 400 else [Reversible()]
    assert_exact(gen_stack(depth, 2, 8, dropout=0.1), torch.randn(300, 16), tolokers, strategies=strategies)


@pytest.mark.parametrize("groups", [2, 4, 8])
@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_with_any_groups_and_norm(groups: int, norm: str, tolokers) -> None:
    assert_exact(gen_stack(12, groups, 4, norm=norm, dropout=0.2), torch.randn(300, 4 * groups), tolokers)


@pytest.mark.parametrize("groups", [2, 4])
def test_with_a_shared_dropout_mask(groups: int, tolokers) -> None:
    mask = PerGroup(shared_dropout_mask((300, 8), 0.3) for _ in range(groups))
    assert_exact(gen_stack(12, groups, 8), torch.randn(300, 8 * groups), tolokers, mask=mask)


HALF = [torch.bfloat16, torch.float16]


@pytest.mark.parametrize("norm", ["layer", "batch"])
@pytest.mark.parametrize("autocast", HALF, ids=str)
def test_under_autocast(norm: str, autocast: torch.dtype, tolokers) -> None:
    """Forward under autocast, backward outside, as usual."""
    assert_exact(gen_stack(28, 2, 8, norm=norm, dropout=0.1), torch.randn(300, 16), tolokers, autocast=autocast)


@pytest.mark.parametrize("autocast", HALF, ids=str)
def test_a_residual_stack_under_autocast(autocast: torch.dtype, tolokers) -> None:
    """With checkpoints."""
    torch.manual_seed(0)
    blocks = [PreActivation(GENConv(16, 16, aggr="max", norm="layer", bias=True), dropout=0.1) for _ in range(12)]
    strategies: list[GradientStrategy] = [Checkpoint(), Checkpoint(every=1), Checkpoint(every=5)]
    assert_exact(ResidualStack(blocks), torch.randn(300, 16), tolokers, autocast=autocast, strategies=strategies)


@pytest.mark.parametrize("autocast", HALF, ids=str)
def test_scaled_gradients_that_overflow_are_the_same_too(autocast: torch.dtype, tolokers) -> None:
    """Whether a loss scale is lowered must not depend on the strategy: all of them give the same infinities."""
    stack = gen_stack(12, 2, 8)
    results = []
    for strategy in (Backprop(), Reversible(), Checkpoint()):
        stack.gradient = strategy
        stack.zero_grad(set_to_none=True)
        x = torch.randn(300, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
        with torch.autocast("cpu", autocast):
            value = stack(x, tolokers)
        (1e7 * value).sum().backward()
        results.append([x.grad, *(p.grad for p in stack.parameters())])
    assert all(g.isfinite().all() for g in results[0]) == (autocast == torch.bfloat16)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert torch.equal(a.nan_to_num(7.0, 8.0, 9.0), b.nan_to_num(7.0, 8.0, 9.0))


def test_pyg_attention_with_dropout_in_it(tolokers) -> None:
    blocks = [[PreActivation(GATConv(8, 8, heads=2, concat=False, dropout=0.3), dropout=0.2) for _ in range(2)] for _ in range(12)]
    assert_exact(ReversibleStack(blocks), torch.randn(300, 16), tolokers.edge_index)


def test_pyg_sage_without_a_norm(tolokers) -> None:
    """It uses its input twice. The input is small: without a norm, twelve layers would overflow."""
    blocks = [[SAGEConv(8, 8) for _ in range(2)] for _ in range(12)]
    assert_exact(ReversibleStack(blocks), torch.randn(300, 16) / 8, tolokers.edge_index)


@pytest.mark.parametrize("autocast", [None, *HALF], ids=str)
def test_tied_layers(autocast: torch.dtype | None, tolokers) -> None:
    """The stack turns the cache of autocast off, so the gradient of a shared weight too is a sum in float32."""
    torch.manual_seed(0)
    unit = [
        AdditiveCoupling([PreActivation(GENConv(8, 8, aggr="max", norm="layer", bias=True), dropout=0.1) for _ in range(2)])
        for _ in range(2)
    ]
    assert_exact(Stack(unit, repeats=28), torch.randn(300, 16), tolokers, autocast=autocast, strategies=[Reversible()])


@pytest.mark.parametrize("strategy", [Reversible(segments=3), Checkpoint()], ids=str)
def test_tied_layers_in_several_segments(strategy: GradientStrategy, tolokers) -> None:
    """The gradients of a shared weight are summed segment by segment: only the order of the sum differs."""
    torch.manual_seed(0)
    unit = [AdditiveCoupling([PreActivation(GENConv(8, 8, aggr="max", norm="layer", bias=True)) for _ in range(2)])]
    results = []
    for gradient in (Backprop(), strategy):
        stack = Stack(unit, repeats=12, gradient=gradient).double()
        torch.manual_seed(1)
        results.append(outcome(stack, torch.randn(300, 16, dtype=torch.float64), tolokers))
    expected, other = results
    assert torch.equal(expected.grad_x, other.grad_x)
    for a, b in zip(expected.grads, other.grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12 * float(a.abs().max()))


def test_frozen_and_unused_parameters(random_graph) -> None:
    stack = gen_stack(6, 2, 8)
    unused = nn.Parameter(torch.ones(3))
    for n, layer in enumerate(stack.layers):
        layer.blocks[0].register_parameter("unused", unused if n % 2 else nn.Parameter(torch.ones(2)))
        layer.blocks[n % 2].conv.mlp[0].weight.requires_grad_(False)
    assert_exact(stack, torch.randn(60, 16), random_graph)


def test_an_input_that_needs_no_gradient(random_graph) -> None:
    assert_exact(gen_stack(6, 2, 8), torch.randn(60, 16), random_graph, needs_grad=False)


@pytest.mark.parametrize("state", ["float64", "grid"])
def test_other_states(state: str, random_graph) -> None:
    assert_exact(gen_stack(28, 2, 8, state=state), torch.randn(60, 16), random_graph)


def test_a_network_in_float64(random_graph) -> None:
    assert_exact(gen_stack(28, 2, 8).double(), torch.randn(60, 16, dtype=torch.float64), random_graph)


def test_arguments_get_their_gradients(random_graph) -> None:
    """A tensor that all blocks are given is an input of the stack: its gradient is the sum over all blocks."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = PreActivation(GENConv(8, 8, aggr="max", norm="layer", bias=True))

        def forward(self, y, graph, extra):
            return self.inner(y, graph) * extra["scale"] + extra["scale"] * extra["shift"][0]

    torch.manual_seed(0)
    stack = ReversibleStack([[Scaled() for _ in range(2)] for _ in range(6)])
    results = []
    for strategy in [Backprop(), *RECOMPUTING]:
        stack.gradient = strategy
        torch.manual_seed(1)
        base = torch.randn(8, requires_grad=True)
        shift = torch.randn(60, 8, requires_grad=True)
        x = torch.randn(60, 16, requires_grad=True)
        out = stack(x, random_graph, extra={"scale": base.tanh(), "shift": [shift]})
        results.append((out.detach(), *torch.autograd.grad(out.square().sum(), [x, base, shift])))
    for strategy, other in zip(RECOMPUTING, results[1:], strict=True):
        for a, b in zip(results[0], other, strict=True):
            if strategy == Reversible():
                assert torch.equal(a, b)
            else:  # summed segment by segment
                torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5 * float(a.abs().max()))


@pytest.mark.parametrize("groups", [2, 4])
@pytest.mark.parametrize(
    "last", [nn.BatchNorm1d, nn.LayerNorm, lambda width: nn.Linear(width, width)], ids=["batch", "layer", "linear"]
)
def test_a_block_that_ends_with_a_norm(last, groups: int) -> None:
    """On a CPU batch norm rounds the gradient of a part of a matrix otherwise than that of a matrix of its own."""
    torch.manual_seed(0)
    stack = ReversibleStack([[nn.Sequential(nn.Linear(8, 8), nn.Tanh(), last(8)) for _ in range(groups)] for _ in range(6)])
    assert_exact(stack, torch.randn(40, 8 * groups))


def test_any_module_is_a_block() -> None:
    """The stack knows no graphs."""
    torch.manual_seed(0)
    stack = ReversibleStack(
        [[nn.Sequential(nn.LayerNorm(5), nn.Linear(5, 5), nn.Dropout(0.4), nn.Tanh()) for _ in range(3)] for _ in range(20)]
    )
    assert_exact(stack, torch.randn(7, 15))


def test_in_plain_floating_point_the_inverse_drifts(random_graph) -> None:
    """This is why the state is kept on a grid: without it the values are equal, but the gradients only roughly."""
    x = torch.randn(60, 16)
    stack = gen_stack(112, 2, 8, state="plain", gradient=Backprop())
    expected = outcome(stack, x, random_graph)
    stack.gradient = Reversible()
    reversed_ = outcome(stack, x, random_graph)
    assert torch.equal(expected.value, reversed_.value)
    pairs = zip(expected.grads, reversed_.grads, strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs if a is not None and b is not None)
