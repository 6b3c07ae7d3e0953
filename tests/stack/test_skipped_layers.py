"""A call of a stack may skip layers and scale others (`layer_factors`): what is skipped costs nothing, and reversal stays exact."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from revgnn.nn import GENConv, PreActivation
from revgnn.ops import round_to_grid
from revgnn.stack import (
    AdditiveCoupling,
    Backprop,
    Checkpoint,
    GradientStrategy,
    ResidualStack,
    Reversible,
    ReversibleStack,
    Stack,
)
from tests.stack.networks import gen_stack, outcome
from tests.stack.test_exactness import assert_exact

STRATEGIES: list[GradientStrategy] = [Backprop(), Reversible(), Reversible(segments=3), Checkpoint(), Checkpoint(every=1)]


class Counted(nn.Module):
    """A linear map that notes its evaluations."""

    def __init__(self, width: int, calls: list[nn.Module]) -> None:
        super().__init__()
        self.lin = nn.Linear(width, width)
        self.calls = calls

    def forward(self, y: Tensor) -> Tensor:
        self.calls.append(self)
        return self.lin(y).tanh()


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_a_skipped_layer_is_not_evaluated_in_any_pass(strategy: GradientStrategy) -> None:
    calls: list[nn.Module] = []
    stack = ReversibleStack([[Counted(3, calls), Counted(3, calls)] for _ in range(6)], gradient=strategy)
    factors = (0.0, 2.0, 0.0, 0.0, 1.0, 0.0)  # with 3 segments, one has no layer left
    out = stack(torch.randn(5, 6), layer_factors=factors)
    used = [block for n in (1, 4) for block in stack.layers[n].blocks]  # pyright: ignore[reportAttributeAccessIssue, reportGeneralTypeIssues]
    assert calls == used
    calls.clear()
    out.sum().backward()
    assert sorted(map(id, calls)) == ([] if strategy == Backprop() else sorted(map(id, used)))
    for layer, factor in zip(stack.layers, factors, strict=True):
        assert all((p.grad is None) == (factor == 0.0) for p in layer.parameters())
    calls.clear()
    stack.inverse(out.detach(), layer_factors=factors)
    assert sorted(map(id, calls)) == sorted(map(id, used))


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_nothing_is_left_of_a_stack_that_is_skipped(strategy: GradientStrategy) -> None:
    x = torch.randn(5, 6, requires_grad=True)
    stack = ReversibleStack([[nn.Linear(3, 3), nn.Linear(3, 3)] for _ in range(6)], gradient=strategy)
    out = stack(x, layer_factors=[0.0] * 6)
    assert torch.equal(out, round_to_grid(x.detach(), 14))
    (out * torch.arange(6)).sum().backward()
    assert torch.equal(x.grad, torch.arange(6.0).expand(5, 6))
    assert all(p.grad is None for p in stack.parameters())


@pytest.mark.parametrize("factors", [[1.5, 0.0, 3.0, 1.0], [0.0, 0.0, 1.0, 2.0]], ids=str)
def test_the_value_is_that_of_the_formula(factors: list[float]) -> None:
    torch.manual_seed(0)
    blocks = [[nn.Linear(3, 3).double() for _ in range(2)] for _ in range(4)]
    x = torch.randn(5, 6, dtype=torch.float64)
    a, b = x.chunk(2, 1)
    for factor, (f, g) in zip(factors, blocks, strict=True):
        a = a + factor * f(b)
        b = b + factor * g(a)
    out = ReversibleStack(blocks, state="plain")(x, layer_factors=factors)
    torch.testing.assert_close(out, torch.cat([a, b], 1), rtol=1e-13, atol=1e-13)
    residual, h = [nn.Linear(6, 6).double() for _ in range(4)], x
    for factor, f in zip(factors, residual, strict=True):
        h = h + factor * f(h)
    torch.testing.assert_close(ResidualStack(residual, state="plain")(x, layer_factors=factors), h, rtol=1e-13, atol=1e-13)


def drawn(depth: int, seed: int) -> list[float]:
    """Return factors of which about a half are 0."""
    uniform = torch.rand(depth, generator=torch.Generator().manual_seed(seed))
    return [float(1.0 / u) if u > 0.5 else 0.0 for u in uniform]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("state", ["grid", "float64"])
@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_every_strategy_has_the_gradient_of_backpropagation(state: str, norm: str, seed: int, tolokers) -> None:
    stack = gen_stack(14, 2, 8, state=state, norm=norm, dropout=0.1)
    assert_exact(stack, torch.randn(300, 16), tolokers, layer_factors=drawn(14, seed))


def test_under_autocast(tolokers) -> None:
    stack = gen_stack(14, 2, 8, dropout=0.1)
    assert_exact(stack, torch.randn(300, 16), tolokers, layer_factors=drawn(14, 3), autocast=torch.bfloat16)


def test_tied_layers_are_skipped_at_some_places(tolokers) -> None:
    torch.manual_seed(0)
    conv = lambda: PreActivation(GENConv(8, 8, aggr="max", norm="layer", bias=True), dropout=0.1)  # noqa: E731
    stack = Stack([AdditiveCoupling([conv(), conv()]) for _ in range(2)], repeats=8)
    assert_exact(stack, torch.randn(300, 16), tolokers, layer_factors=drawn(16, 4), strategies=[Reversible()])
    only_first = [1.0 if n % 2 == 0 else 0.0 for n in range(16)]
    outcome(stack, torch.randn(300, 16), tolokers, layer_factors=only_first)
    assert all(p.grad is not None for p in stack.layers[0].parameters())
    assert all(p.grad is None for p in stack.layers[1].parameters())


def test_residual_layers(tolokers) -> None:
    torch.manual_seed(0)
    blocks = [PreActivation(GENConv(16, 16, aggr="max", norm="layer", bias=True), dropout=0.1) for _ in range(12)]
    strategies: list[GradientStrategy] = [Checkpoint(), Checkpoint(every=1), Checkpoint(every=5)]
    assert_exact(ResidualStack(blocks), torch.randn(300, 16), tolokers, layer_factors=drawn(12, 5), strategies=strategies)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_factors_of_1_change_no_bit(strategy: GradientStrategy, tolokers) -> None:
    stack, x = gen_stack(6, 2, 8, dropout=0.1, gradient=strategy), torch.randn(300, 16)
    outcome(stack, x, tolokers, layer_factors=[1.0] * 6).assert_same(outcome(stack, x, tolokers))


@torch.no_grad()
def test_the_inverse_is_exact(tolokers) -> None:
    stack, h = gen_stack(14, 2, 8), round_to_grid(torch.randn(300, 16), 14)
    factors = drawn(14, 6)
    assert torch.equal(stack.inverse(stack(h, tolokers, layer_factors=factors), tolokers, layer_factors=factors), h)


def test_a_coarser_grid_is_chosen_for_the_same_layers() -> None:
    """The second run of a call skips what the first has skipped."""
    torch.manual_seed(0)
    stack = ReversibleStack([[nn.Linear(2, 2), nn.Linear(2, 2)] for _ in range(4)])
    factors = [0.0, 30.0, 0.0, 1.0]
    with pytest.warns(UserWarning, match="Going on"):
        out = stack(torch.rand(10, 4) + 2.0, layer_factors=factors)
    out.sum().backward()
    assert all(
        (p.grad is None) == (factor == 0.0) for layer, factor in zip(stack.layers, factors, strict=True) for p in layer.parameters()
    )


@pytest.mark.parametrize("groups", [1, 2])
def test_the_mean_over_all_choices_of_layers(groups: int) -> None:
    r"""Of linear blocks it is known exactly. A layer adds f or nothing, so the mean of a product of layers is that of their means.

    Residual: $I + W$, as in evaluation. A coupling of two groups: $W_2 W_1$ is scaled twice, $1 / (1 - p)$ in the mean.
    """
    depth, rate, width = 5, 0.6, 3
    torch.manual_seed(0)
    layers = [[nn.Linear(width, width, bias=False).double() for _ in range(groups)] for _ in range(depth)]
    stack = ReversibleStack(layers) if groups == 2 else ResidualStack([blocks[0] for blocks in layers])
    x = torch.randn(7, groups * width, dtype=torch.float64)
    rates = [rate * layer / depth for layer in range(1, depth + 1)]
    mean, total = torch.zeros_like(x), 0.0
    with torch.no_grad():
        for kept in itertools.product((False, True), repeat=depth):
            chance = math.prod(1 - p if k else p for p, k in zip(rates, kept, strict=True))
            mean += chance * stack(x, layer_factors=[1 / (1 - p) if k else 0.0 for p, k in zip(rates, kept, strict=True)])
            total += chance
        expected, evaluation = x, stack(x)
        for p, blocks in zip(rates, layers, strict=True):
            first, *second = (block.weight for block in blocks)
            if groups == 1:
                expected = expected + expected @ first.T
            else:
                a, b = expected.chunk(2, 1)
                expected = torch.cat([a + b @ first.T, b + a @ second[0].T + b @ (second[0] @ first).T / (1 - p)], 1)
    assert total == pytest.approx(1.0)
    torch.testing.assert_close(mean, expected, rtol=0, atol=1e-10)  # the grid has steps of 1e-12
    if groups == 1:
        torch.testing.assert_close(mean, evaluation, rtol=0, atol=1e-10)


def test_one_factor_for_each_layer() -> None:
    stack = ReversibleStack([[nn.Linear(3, 3), nn.Linear(3, 3)]], repeats=4)
    for call in (stack, stack.inverse):
        with pytest.raises(ValueError, match="one number for each of the 4 layers, got 3"):
            call(torch.randn(5, 6), layer_factors=[1.0, 0.0, 1.0])


def test_a_tensor_that_would_lose_its_gradient_is_found_in_whatever_layer_it_is() -> None:
    """Checkpointed layers are examined together. A call that has skipped the layer in question must not end the search."""
    hidden = nn.Parameter(torch.ones(4))

    class Leaky(nn.Module):
        def forward(self, y: Tensor) -> Tensor:
            return y * hidden

    stack = ResidualStack([nn.Linear(4, 4), nn.Sequential(Leaky())], gradient=Checkpoint(every=2))
    stack(torch.randn(3, 4), layer_factors=[1.0, 0.0]).sum().backward()
    for factors in ([1.0, 1.0], None):
        out = stack(torch.randn(3, 4), layer_factors=factors)
        with pytest.raises(RuntimeError, match="gradient would be lost"):
            out.sum().backward()


def test_a_compiler_does_not_compile_each_choice_of_layers() -> None:
    compiled: list[torch.fx.Node] = []

    def note(module: torch.fx.GraphModule, _: object) -> object:
        compiled.extend(node for node in module.graph.nodes if node.op.startswith("call"))
        return module.forward

    torch.manual_seed(0)
    stack = ReversibleStack([[nn.Linear(3, 3), nn.Linear(3, 3)] for _ in range(4)], gradient=Backprop())
    fast, x = torch.compile(stack, backend=note), torch.randn(5, 6)
    for factors in ([0.0, 1.0, 2.0, 1.0], [1.0, 0.0, 0.0, 1.5], [1.0, 3.0, 0.0, 0.0]):
        assert torch.equal(fast(x, layer_factors=factors), stack(x, layer_factors=factors))
    assert not compiled
    fast(x)
    assert compiled
