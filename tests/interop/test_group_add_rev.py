"""`revgnn.interop.GroupAddRev` is PyTorch Geometric's layer, with exact gradients and an input that stays readable."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn
from torch_geometric.nn import GATConv, GraphConv, SAGEConv
from torch_geometric.nn import GroupAddRev as PyGGroupAddRev

from revgnn.interop import GroupAddRev
from revgnn.nn import GENConv, PreActivation
from revgnn.ops import round_to_grid
from revgnn.testing import assert_gradients_equal
from tests.interop.peers import Block

GROUPS = [2, 4, 8, 16]


@pytest.fixture
def x() -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(60, 32)


def pair(groups: int, make=SAGEConv, **options) -> tuple[GroupAddRev, PyGGroupAddRev]:
    """Our layer, and PyTorch Geometric's with the same parameters."""
    torch.manual_seed(0)
    ours = GroupAddRev(make(32 // groups, 32 // groups), num_groups=groups, **options)
    theirs = PyGGroupAddRev(make(32 // groups, 32 // groups), num_groups=groups)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("groups", GROUPS)
def test_names_of_parameters_and_text_are_the_same(groups: int) -> None:
    ours, theirs = pair(groups)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    assert str(ours) == str(theirs)
    assert ours.num_groups == theirs.num_groups == groups
    assert not torch.equal(ours.convs[0].lin_l.weight, ours.convs[1].lin_l.weight), "copies draw parameters of their own"


@pytest.mark.parametrize("groups", GROUPS)
def test_plain_values_are_theirs_to_the_last_bit(groups: int, x, random_graph) -> None:
    ours, theirs = pair(groups, state="plain")
    expected = theirs(x.clone(), random_graph.edge_index)
    assert torch.equal(ours(x, random_graph.edge_index), expected)
    # their inverse adds the groups up in another order than their layer does
    before = ours.inverse(expected, random_graph.edge_index)
    torch.testing.assert_close(before, theirs.inverse(expected.clone(), random_graph.edge_index), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(before, x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("groups", GROUPS)
def test_on_the_grid_values_differ_by_rounding_alone(groups: int, x, random_graph) -> None:
    ours, theirs = pair(groups)
    out = ours(x, random_graph.edge_index)
    torch.testing.assert_close(out, theirs(x.clone(), random_graph.edge_index), rtol=0.0, atol=groups * 2.0**-13)
    assert torch.equal(out, round_to_grid(out, 14))


@pytest.mark.parametrize("groups", GROUPS)
@torch.no_grad()
def test_the_inverse_is_exact(groups: int, x, random_graph) -> None:
    layer, _ = pair(groups)
    kept = x.clone()
    out = layer(x, random_graph.edge_index)
    assert torch.equal(x, kept), "the input stays readable"
    assert torch.equal(layer.inverse(out, random_graph.edge_index), round_to_grid(x, 14))


def noisy(channels: int, _: int) -> nn.Module:
    return nn.Sequential(nn.BatchNorm1d(channels), nn.ReLU(), nn.Dropout(0.3), nn.Linear(channels, channels))


class Ignoring(nn.Module):
    """A block of layers that know no edges."""

    def __init__(self, channels: int, _: int) -> None:
        super().__init__()
        self.inner = noisy(channels, channels)
        self.register_parameter("unused", nn.Parameter(torch.ones(2)))

    def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


@pytest.mark.parametrize("autocast", [None, torch.bfloat16], ids=str)
@pytest.mark.parametrize("groups", [2, 4])
@pytest.mark.parametrize("make", [SAGEConv, Ignoring, lambda a, b: GATConv(a, b, dropout=0.3)], ids=["sage", "dropout", "gat"])
def test_gradients_are_those_of_storing_everything(make, groups: int, autocast, x, random_graph) -> None:
    """With dropout, batch norm, unused parameters and autocast inside the convolutions. `disable` stores everything."""
    layer, _ = pair(groups, make) if make is not Ignoring else (GroupAddRev(make(32 // groups, 0), num_groups=groups), None)
    stored = copy.deepcopy(layer)
    stored.disable = True
    assert_gradients_equal(layer, stored, x.requires_grad_(), random_graph.edge_index, autocast=autocast)


def test_any_number_of_backward_passes(x, random_graph) -> None:
    layer, _ = pair(2)
    target = layer(x.requires_grad_(), random_graph.edge_index).square().mean()
    leaves = [x, *layer.parameters()]
    first, *others = [torch.autograd.grad(target, leaves, retain_graph=True) for _ in range(4)]
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_further_arguments(x, random_graph) -> None:
    """Weights of edges go to every group; a mask of the width of the state is cut; None stays None."""
    ours, theirs = pair(4, GraphConv, state="plain")
    weight = torch.rand(random_graph.num_edges)
    edge_index = random_graph.edge_index
    assert torch.equal(ours(x, edge_index, weight), theirs(x.clone(), edge_index, weight))
    torch.manual_seed(0)
    ours, theirs = GroupAddRev(Block(8), num_groups=4, state="plain"), PyGGroupAddRev(Block(8), num_groups=4)
    theirs.load_state_dict(ours.state_dict())
    mask = torch.zeros_like(x).bernoulli_(0.8)
    for argument in (mask, None):
        assert torch.equal(ours(x, edge_index, argument), theirs(x.clone(), edge_index, argument))


def test_a_weight_for_each_edge_is_not_cut_even_if_there_are_as_many_as_channels(x) -> None:
    """PyTorch Geometric's layer gives each group the weights of other edges, and fails."""
    layer, _ = pair(4, GraphConv)
    edge_index, weight = torch.randint(0, 60, (2, 32)), torch.rand(32)
    longer = torch.cat([edge_index, edge_index[:, :1]], 1), torch.cat([weight, torch.zeros(1)])
    torch.testing.assert_close(layer(x, edge_index, weight), layer(x, *longer))


@pytest.mark.parametrize(("shape", "dim"), [((3, 7, 32), -1), ((3, 32, 7), 1), ((32, 7), 0), ((60, 32), 1)])
def test_other_dimensions(shape: tuple[int, ...], dim: int) -> None:
    class Pointwise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 8) / 8)

        def forward(self, y, edge_index, mask):
            return torch.tanh((y * mask).movedim(dim, -1) @ self.weight).movedim(-1, dim)

    torch.manual_seed(0)
    blocks = nn.ModuleList([Pointwise() for _ in range(4)])
    ours, theirs = GroupAddRev(blocks, split_dim=dim, state="plain"), PyGGroupAddRev(blocks, split_dim=dim)
    x, mask, edge_index = torch.randn(shape), torch.randn(shape), torch.zeros(2, 0, dtype=torch.long)
    expected = theirs(x.clone(), edge_index, mask)
    assert torch.equal(ours(x, edge_index, mask), expected)
    exact = GroupAddRev(blocks, split_dim=dim)
    stored = GroupAddRev(blocks, split_dim=dim, disable=True)
    stored.load_state_dict(exact.state_dict())
    assert_gradients_equal(exact, stored, x.requires_grad_(), edge_index, mask)
    with torch.no_grad():
        assert torch.equal(exact.inverse(exact(x, edge_index, mask), edge_index, mask), round_to_grid(x, 14))


def test_our_convolutions_on_a_graph(x, random_graph) -> None:
    torch.manual_seed(0)
    layer = GroupAddRev(PreActivation(GENConv(16, 16, aggr="max", norm="layer", bias=True)), num_groups=2)
    stored = copy.deepcopy(layer)
    stored.disable = True
    assert_gradients_equal(layer, stored, x.requires_grad_(), random_graph)


def test_layers_one_after_another_are_warned_about(x, random_graph) -> None:
    layers = [GroupAddRev(SAGEConv(16, 16), num_groups=2) for _ in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = layers[0](x.requires_grad_(), random_graph.edge_index)
    with pytest.warns(UserWarning, match=r"memory grows with depth: .* Call revgnn\.interop\.convert\(model\)"):
        layers[1](first, random_graph.edge_index)


def test_a_state_that_outgrows_its_grid(random_graph) -> None:
    """The layer moves to a coarser grid, as a stack does, and remembers it."""
    layer = GroupAddRev(nn.ModuleList([Ignoring(4, 4), Ignoring(4, 4)]))
    x = torch.full((60, 8), 3000.0)
    with pytest.warns(UserWarning, match="Going on"):
        layer(x, random_graph.edge_index)
    assert layer.coarsened > 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(x, random_graph.edge_index)


def test_mistakes() -> None:
    with pytest.raises(ValueError, match="Pass num_groups"):
        GroupAddRev(SAGEConv(4, 4))
    with pytest.raises(ValueError, match="at least 2 blocks"):
        GroupAddRev(SAGEConv(4, 4), num_groups=1)
    with pytest.raises(ValueError, match="2 convolutions, one for each group, but num_groups=3"):
        GroupAddRev(nn.ModuleList([SAGEConv(4, 4), SAGEConv(4, 4)]), num_groups=3)
    with pytest.raises(ValueError, match="unknown state"):
        GroupAddRev(SAGEConv(4, 4), num_groups=2, state="half")
    with pytest.raises(ValueError, match=r"multiple of the 2 groups, got \(5, 9\)"):
        GroupAddRev(SAGEConv(4, 4), num_groups=2)(torch.randn(5, 9), torch.zeros(2, 0, dtype=torch.long))
