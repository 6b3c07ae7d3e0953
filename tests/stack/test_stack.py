"""Layers and blocks are their formulas."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from revgnn import shared_dropout_mask
from revgnn.graph import Graph
from revgnn.nn import GENConv, PreActivation
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


def test_pre_activation_is_its_formula() -> None:
    graph = Graph.from_edge_index(torch.randint(0, 9, (2, 30)), 9)
    block = PreActivation(GENConv(6, 6)).double()
    x, mask = torch.randn(9, 6, dtype=torch.float64), shared_dropout_mask((9, 6), 0.5).double()
    h = torch.relu(block.norm(x)) * mask
    expected = block.conv(h, graph)
    torch.testing.assert_close(block(x, graph, mask=mask), expected, rtol=1e-13, atol=1e-13)
    # with a hook, the modules are called one by one
    called = []
    block.norm.register_forward_hook(lambda *_: called.append("norm"))
    assert torch.equal(block(x, graph, mask=mask), expected)
    assert called == ["norm"]


def test_perceptron_of_gen_conv_is_its_layers() -> None:
    graph = Graph.from_edge_index(torch.randint(0, 9, (2, 30)), 9)
    conv = GENConv(8, 8).double()
    x = torch.randn(9, 8, dtype=torch.float64)
    together = conv(x, graph)
    called = []
    conv.mlp[2].register_forward_hook(lambda *_: called.append("relu"))
    torch.testing.assert_close(together, conv(x, graph), rtol=1e-13, atol=1e-13)
    assert called == ["relu"]


def test_pre_activation_reads_the_width_of_a_conv_or_asks_for_it() -> None:
    assert PreActivation(GENConv(6, 6)).norm.normalized_shape == (6,)
    assert isinstance(PreActivation(nn.Identity(), "none", channels=3).norm, nn.Identity)
    with pytest.raises(ValueError, match="Identity does not say how wide its input is; pass channels="):
        PreActivation(nn.Identity())
    with pytest.raises(ValueError, match="unknown norm 'instance'"):
        PreActivation(GENConv(6, 6), "instance")


def test_shared_mask_keeps_the_mean() -> None:
    mask = shared_dropout_mask((1000, 100), 0.2)
    assert set(mask.unique().tolist()) == {0.0, 1.25}
    assert abs(float(mask.mean()) - 1.0) < 0.01


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
