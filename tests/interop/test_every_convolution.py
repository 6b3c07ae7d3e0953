"""Every node-level convolution of PyTorch Geometric runs in a reversible stack, bit for bit equal to `Backprop`, or is named here.

A convolution that PyTorch Geometric adds is in neither list, and the first test says so.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
import torch_geometric.nn.conv as pyg
from torch import Tensor, nn

from revgnn.stack import Backprop, Reversible, ReversibleStack
from revgnn.testing import assert_gradients_equal

C = 8
"""Channels of a group."""
N, E = 30, 120


class Data(NamedTuple):
    """What convolutions take beside their input."""

    edge_index: Tensor
    weight: Tensor
    attr: Tensor
    edge_type: Tensor
    node_type: Tensor
    position: Tensor
    normal: Tensor
    first: Tensor
    """The first state of a group, which some convolutions add to every layer."""
    mesh: Tensor
    """Four neighbours of every row."""


def data() -> Data:
    rng = torch.Generator().manual_seed(0)
    return Data(
        edge_index=torch.randint(0, N, (2, E), generator=rng),
        weight=torch.rand(E, generator=rng),
        attr=torch.rand(E, 2, generator=rng),
        edge_type=torch.randint(0, 2, (E,), generator=rng),
        node_type=torch.randint(0, 2, (N,), generator=rng),
        position=torch.randn(N, 3, generator=rng),
        normal=nn.functional.normalize(torch.randn(N, 3, generator=rng), dim=1),
        first=torch.randn(N, C, generator=rng),
        mesh=torch.stack([torch.arange(N).repeat_interleave(4), torch.randint(0, N, (4 * N,), generator=rng)]),
    )


class Block(nn.Module):
    """Layer norm and a convolution, called the way it wants to be."""

    def __init__(self, conv: nn.Module, call: Callable[[Any, Tensor, Data], Tensor]) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(C)
        self.conv = conv
        self.call = call

    def forward(self, y: Tensor, *data: Tensor) -> Tensor:
        return self.call(self.conv, self.norm(y), Data(*data))


Call = Callable[[Any, Tensor, Data], Tensor]


def edges(conv: Any, y: Tensor, d: Data) -> Tensor:
    return conv(y, d.edge_index)


def weights(conv: Any, y: Tensor, d: Data) -> Tensor:
    return conv(y, d.edge_index, d.weight)


def features(conv: Any, y: Tensor, d: Data) -> Tensor:
    return conv(y, d.edge_index, d.attr)


def types(conv: Any, y: Tensor, d: Data) -> Tensor:
    return conv(y, d.edge_index, d.edge_type)


def points(conv: Any, y: Tensor, d: Data) -> Tensor:
    return conv(y, d.position, d.edge_index)


def one_type(conv: Any, y: Tensor, d: Data) -> Tensor:
    return conv({"n": y}, {RELATION: d.edge_index})["n"]


def alone(conv: Any, y: Tensor, d: Data) -> Tensor:
    return conv(y)


def mlp(inputs: int, outputs: int = C) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.ReLU(), nn.Dropout(0.1), nn.Linear(outputs, outputs))


RELATION = ("n", "to", "n")
ONE_TYPE = (["n"], [RELATION])
DEGREES = torch.tensor([0, 3, 6, 9, 6, 3, 2, 1])

CASES: dict[str, tuple[Callable[[], nn.Module], Call]] = {
    "SimpleConv": (lambda: pyg.SimpleConv("mean", combine_root="sum"), weights),
    "GCNConv": (lambda: pyg.GCNConv(C, C), weights),
    "ChebConv": (lambda: pyg.ChebConv(C, C, K=3), weights),
    "SAGEConv": (lambda: pyg.SAGEConv(C, C, normalize=True, project=True), edges),
    "GraphConv": (lambda: pyg.GraphConv(C, C), weights),
    "GatedGraphConv": (lambda: pyg.GatedGraphConv(C, num_layers=2), weights),
    "ResGatedGraphConv": (lambda: pyg.ResGatedGraphConv(C, C, edge_dim=2), features),
    "GATConv": (lambda: pyg.GATConv(C, C // 2, heads=2, dropout=0.3, edge_dim=2), features),
    "GATv2Conv": (lambda: pyg.GATv2Conv(C, C // 2, heads=2, dropout=0.3, edge_dim=2), features),
    "TransformerConv": (lambda: pyg.TransformerConv(C, C // 2, heads=2, beta=True, dropout=0.3, edge_dim=2), features),
    "AGNNConv": (lambda: pyg.AGNNConv(), edges),
    "TAGConv": (lambda: pyg.TAGConv(C, C), weights),
    "GINConv": (lambda: pyg.GINConv(mlp(C), train_eps=True), edges),
    "GINEConv": (lambda: pyg.GINEConv(mlp(C), train_eps=True, edge_dim=2), features),
    "ARMAConv": (lambda: pyg.ARMAConv(C, C, num_stacks=2, num_layers=2, dropout=0.3), weights),
    "SGConv": (lambda: pyg.SGConv(C, C, K=2), weights),
    "SSGConv": (lambda: pyg.SSGConv(C, C, alpha=0.1, K=2), weights),
    "APPNP": (lambda: pyg.APPNP(K=3, alpha=0.1, dropout=0.3), weights),
    "MFConv": (lambda: pyg.MFConv(C, C), edges),
    "RGCNConv": (lambda: pyg.RGCNConv(C, C, num_relations=2), types),
    "FastRGCNConv": (lambda: pyg.FastRGCNConv(C, C, num_relations=2), types),
    "RGATConv": (lambda: pyg.RGATConv(C, C, num_relations=2, dropout=0.3), types),
    "SignedConv": (
        lambda: pyg.SignedConv(C, C // 2, first_aggr=True),
        lambda conv, y, d: conv(y, d.edge_index[:, : E // 2], d.edge_index[:, E // 2 :]),
    ),
    "DNAConv": (lambda: pyg.DNAConv(C, heads=2, dropout=0.3), lambda conv, y, d: conv(torch.stack([d.first, y], 1), d.edge_index)),
    "PointNetConv": (lambda: pyg.PointNetConv(mlp(C + 3), mlp(C)), points),
    "GMMConv": (lambda: pyg.GMMConv(C, C, dim=2, kernel_size=3), features),
    "NNConv": (lambda: pyg.NNConv(C, C, mlp(2, C * C)), features),
    "CGConv": (lambda: pyg.CGConv(C, dim=2, batch_norm=True), features),
    "EdgeConv": (lambda: pyg.EdgeConv(mlp(2 * C)), edges),
    "PPFConv": (lambda: pyg.PPFConv(mlp(C + 4), mlp(C)), lambda conv, y, d: conv(y, d.position, d.normal, d.edge_index)),
    "FeaStConv": (lambda: pyg.FeaStConv(C, C, heads=2), edges),
    "PointTransformerConv": (lambda: pyg.PointTransformerConv(C, C), points),
    "HypergraphConv": (lambda: pyg.HypergraphConv(C, C), edges),
    "LEConv": (lambda: pyg.LEConv(C, C), weights),
    "PNAConv": (
        lambda: pyg.PNAConv(C, C, ["mean", "max", "std"], ["identity", "amplification"], DEGREES, edge_dim=2),
        features,
    ),
    "ClusterGCNConv": (lambda: pyg.ClusterGCNConv(C, C, diag_lambda=0.1), edges),
    "GENConv": (lambda: pyg.GENConv(C, C, learn_t=True, msg_norm=True, edge_dim=2), features),
    "GCN2Conv": (lambda: pyg.GCN2Conv(C, alpha=0.1), lambda conv, y, d: conv(y, d.first, d.edge_index, d.weight)),
    "WLConvContinuous": (lambda: pyg.WLConvContinuous(), weights),
    "FiLMConv": (lambda: pyg.FiLMConv(C, C, num_relations=2), types),
    "SuperGATConv": (lambda: pyg.SuperGATConv(C, C // 2, heads=2, dropout=0.3), edges),
    "FAConv": (lambda: pyg.FAConv(C, dropout=0.3), lambda conv, y, d: conv(y, d.first, d.edge_index)),
    "EGConv": (lambda: pyg.EGConv(C, C, aggregators=["sum", "max", "std"], num_heads=2), edges),
    "PDNConv": (lambda: pyg.PDNConv(C, C, edge_dim=2, hidden_channels=4), features),
    "GeneralConv": (lambda: pyg.GeneralConv(C, C, in_edge_channels=2, attention=True, heads=2, l2_normalize=True), features),
    "HGTConv": (lambda: pyg.HGTConv(C, C, ONE_TYPE, heads=2), one_type),
    "HEATConv": (
        lambda: pyg.HEATConv(C, C, 2, 2, edge_type_emb_dim=3, edge_dim=2, edge_attr_emb_dim=3, dropout=0.3),
        lambda conv, y, d: conv(y, d.edge_index, d.node_type, d.edge_type, d.attr),
    ),
    "HeteroConv": (lambda: pyg.HeteroConv({RELATION: pyg.SAGEConv(C, C)}), one_type),
    "HANConv": (lambda: pyg.HANConv(C, C, ONE_TYPE, heads=2, dropout=0.3), one_type),
    "LGConv": (lambda: pyg.LGConv(), weights),
    "PointGNNConv": (lambda: pyg.PointGNNConv(mlp(C, 3), mlp(C + 3), mlp(C)), points),
    "GPSConv": (lambda: pyg.GPSConv(C, pyg.GCNConv(C, C), heads=2, dropout=0.3, attn_kwargs={"dropout": 0.3}), edges),
    "AntiSymmetricConv": (lambda: pyg.AntiSymmetricConv(C, num_iters=2), edges),
    "DirGNNConv": (lambda: pyg.DirGNNConv(pyg.SAGEConv(C, C)), edges),
    "MixHopConv": (lambda: pyg.MixHopConv(C, C // 2, powers=[0, 1]), weights),
    "MeshCNNConv": (lambda: pyg.MeshCNNConv(C, C), lambda conv, y, d: conv(y, d.mesh)),
}
"""How each convolution is made with as many output as input channels, and how it is called."""

NEEDS_A_PACKAGE: dict[str, tuple[str, Callable[[], nn.Module], Call]] = {
    "SplineConv": ("pyg-lib", lambda: pyg.SplineConv(C, C, dim=2, kernel_size=3), features),
    "DynamicEdgeConv": ("pyg-lib", lambda: pyg.DynamicEdgeConv(mlp(2 * C), k=3), alone),
    "GravNetConv": ("pyg-lib", lambda: pyg.GravNetConv(C, C, space_dimensions=3, propagate_dimensions=4, k=3), alone),
    "XConv": ("pyg-lib", lambda: pyg.XConv(C, C, dim=3, kernel_size=3), lambda conv, y, d: conv(y, d.position)),
    "PANConv": ("torch-sparse", lambda: pyg.PANConv(C, C, filter_size=2), lambda conv, y, d: conv(y, d.edge_index)[0]),
}
"""Those that PyTorch Geometric refuses without a package of its own. They are tested where it is installed."""

NAMED: dict[str, str] = {
    "MessagePassing": "the base class, which has no message of its own",
    "CuGraphSAGEConv": "needs pylibcugraphops and a GPU",
    "CuGraphGATConv": "needs pylibcugraphops and a GPU",
    "CuGraphRGCNConv": "needs pylibcugraphops and a GPU",
    "FusedGATConv": "needs dgNN and a GPU",
    "WLConv": "maps integer colours to integers: there is no gradient",
}
"""Convolutions that are not tested, and why."""


def test_every_exported_convolution_is_tested_or_named() -> None:
    exported = set(pyg.__all__)
    listed = [*CASES, *NEEDS_A_PACKAGE, *NAMED]
    assert len(listed) == len(set(listed))
    new, gone = exported - set(listed), set(listed) - exported
    assert not new, f"PyTorch Geometric has {sorted(new)}: add each to CASES, or to NAMED with the reason"
    assert not gone, f"PyTorch Geometric no longer has {sorted(gone)}"


def assert_is_backprop(make: Callable[[], nn.Module], call: Call) -> None:
    torch.manual_seed(0)
    stack = ReversibleStack([[Block(make(), call) for _ in range(2)] for _ in range(4)])
    stored = copy.deepcopy(stack)
    stored.gradient = Backprop()
    assert stack.gradient == Reversible()
    x = torch.randn(N, 2 * C, generator=torch.Generator().manual_seed(1)).requires_grad_()
    assert_gradients_equal(stack, stored, x, *data())


@pytest.mark.parametrize("name", CASES)
def test_in_a_reversible_stack_it_is_bit_for_bit_backprop(name: str) -> None:
    assert_is_backprop(*CASES[name])


@pytest.mark.parametrize("name", NEEDS_A_PACKAGE)
def test_where_its_package_is_installed(name: str) -> None:
    package, make, call = NEEDS_A_PACKAGE[name]
    try:
        with torch.no_grad():
            Block(make(), call)(torch.randn(N, C), *data())
    except ImportError as error:
        if package not in str(error):
            raise
        pytest.skip(f"PyTorch Geometric's {name} needs {package}")
    assert_is_backprop(make, call)
