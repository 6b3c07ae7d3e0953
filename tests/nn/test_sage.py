from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch_geometric.nn import SAGEConv as PeerSAGEConv

from revgnn.graph import Graph
from revgnn.nn.sage import SAGEConv
from tests.nn.peers import assert_equal_to_peer, cora


@pytest.mark.parametrize("aggr", ["mean", "sum"])
def test_equals_pyg_on_cora(copy_of_real_data: Callable[[str], Path], aggr: str) -> None:
    x, edge_index = cora(copy_of_real_data("planetoid/Cora"))
    for inputs, width in ((x, 16), (x[:, :16], 32)):  # narrowing: the map first; widening: the mean first
        ours, peer = (make(inputs.shape[1], width, aggr) for make in (SAGEConv, PeerSAGEConv))
        assert_equal_to_peer(ours, peer, inputs, edge_index)


@pytest.mark.parametrize("width", [3, 7])
def test_a_node_without_edges_keeps_its_own_share(width: int) -> None:
    graph = Graph.from_edge_index(torch.tensor([[0, 1], [1, 1]]), 3)
    conv, x = SAGEConv(5, width), torch.randn(3, 5)
    torch.testing.assert_close(conv(x, graph)[2], conv.lin_l.bias + conv.lin_r(x[2]))


def test_without_root_and_bias() -> None:
    graph = Graph.from_edge_index(torch.tensor([[0, 1], [1, 2]]), 3)
    conv, x = SAGEConv(5, 3, root_weight=False, bias=False), torch.randn(3, 5)
    assert [name for name, _ in conv.named_parameters()] == ["lin_l.weight"]
    torch.testing.assert_close(conv(x, graph), torch.cat([torch.zeros(1, 3), conv.lin_l(x[:2])]))


def test_reset_draws_anew() -> None:
    conv = SAGEConv(4, 6)
    before = [p.detach().clone() for p in conv.parameters()]
    conv.reset_parameters()
    assert not any(torch.equal(p, old) for p, old in zip(conv.parameters(), before, strict=True))
