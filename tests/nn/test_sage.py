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


@pytest.mark.parametrize("aggr", ["mean", "sum"])
@pytest.mark.parametrize(("width", "bias"), [(3, True), (7, True), (7, False)])
def test_one_node_of_autograd_equals_the_operators_one_by_one(aggr: str, width: int, *, bias: bool) -> None:
    """A hub, an isolated node, a doubled edge, a self-loop; the value and every choice of gradients."""
    graph = Graph.from_edge_index(torch.tensor([[0, 1, 2, 3, 3, 4], [1, 1, 1, 1, 1, 0]]), 6)
    conv, x, grad = SAGEConv(5, width, aggr=aggr, bias=bias).double(), torch.randn(6, 5).double(), torch.randn(6, width).double()
    tensors = {"x": x, **dict(conv.named_parameters())}

    def results(wanted: list[str]) -> list[torch.Tensor]:
        for name, tensor in tensors.items():
            tensor.requires_grad_(name in wanted)
        out = conv(x, graph)
        return [out.detach(), *torch.autograd.grad(out, [tensors[name] for name in wanted], grad)]

    choices = [list(tensors), *([name] for name in tensors)]
    fused = [results(wanted) for wanted in choices]
    assert "_SAGE" in type(conv(x.requires_grad_(), graph).grad_fn).__name__
    handle = conv.lin_l.register_forward_hook(lambda *_: None)  # a hook has to see its map
    assert "_SAGE" not in type(conv(x, graph).grad_fn).__name__
    for wanted, found in zip(choices, fused, strict=True):
        for one, other in zip(found, results(wanted), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    handle.remove()
