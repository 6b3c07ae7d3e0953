from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch_geometric.nn import GCNConv as PeerGCNConv

from revgnn.nn.gcn import GCNConv
from revgnn.testing import NamedGraph, awkward_graphs
from tests.nn.peers import assert_equal_to_peer, cora


def test_equals_pyg_on_cora(copy_of_real_data: Callable[[str], Path]) -> None:
    x, edge_index = cora(copy_of_real_data("planetoid/Cora"))
    assert_equal_to_peer(GCNConv(1433, 16, add_self_loops=False), PeerGCNConv(1433, 16, add_self_loops=False), x, edge_index)
    assert_equal_to_peer(
        GCNConv(16, 32, add_self_loops=False, bias=False),
        PeerGCNConv(16, 32, add_self_loops=False, bias=False),
        x[:, :16],
        edge_index,
    )


@pytest.mark.parametrize("named", awkward_graphs(), ids=str)
def test_is_the_normalised_adjacency(named: NamedGraph) -> None:
    graph, conv = named.graph, GCNConv(5, 3, add_self_loops=False).double()
    torch.nn.init.normal_(conv.bias)
    x = torch.randn(graph.num_nodes, 5, dtype=torch.float64)
    adjacency = torch.zeros(graph.num_nodes, graph.num_nodes, dtype=torch.float64)
    adjacency.index_put_((graph.dst.long(), graph.src.long()), torch.ones(1, dtype=torch.float64), accumulate=True)
    degree = adjacency.sum(1)
    scale = torch.where(degree > 0, degree**-0.5, 0.0)
    expected = scale[:, None] * adjacency * scale @ x @ conv.lin.weight.t() + conv.bias
    torch.testing.assert_close(conv(x, graph), expected)


def test_self_loops_come_with_the_graph() -> None:
    graph = dict(awkward_graphs())["path"]
    x, conv = torch.randn(13, 4), GCNConv(4, 4)
    peer = PeerGCNConv(4, 4)
    peer.load_state_dict(conv.state_dict())
    torch.testing.assert_close(conv(x, graph.with_self_loops()), peer(x, graph.edge_index))


def test_reset_draws_anew_and_clears_the_bias() -> None:
    conv = GCNConv(4, 6)
    before = conv.lin.weight.detach().clone()
    torch.nn.init.ones_(conv.bias)
    conv.reset_parameters()
    assert not torch.equal(conv.lin.weight, before)
    assert conv.lin.weight.abs().max() <= (6 / 10) ** 0.5
    assert not conv.bias.any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_parameters(dtype: torch.dtype) -> None:
    """Degrees are counted in float32: 300 has no float16 reciprocal root as exact, and bfloat16 cannot tell 257 from 256."""
    graph = dict(awkward_graphs())["star in"]
    conv, x = GCNConv(4, 4), torch.rand(38, 4)
    expected = conv(x, graph)
    out = conv.to(dtype)(x.to(dtype), graph)
    assert out.dtype == dtype
    torch.testing.assert_close(out.float(), expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("named", awkward_graphs(), ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_one_node_of_autograd_has_the_bits_of_the_operators_one_by_one(named: NamedGraph, *, bias: bool) -> None:
    graph, conv = named.graph, GCNConv(5, 3, add_self_loops=False, bias=bias)
    x, grad = torch.randn(graph.num_nodes, 5), torch.randn(graph.num_nodes, 3)
    tensors = {"x": x, **dict(conv.named_parameters())}

    def results(wanted: list[str]) -> list[torch.Tensor]:
        for name, tensor in tensors.items():
            tensor.requires_grad_(name in wanted)
        out = conv(x, graph)
        return [out.detach(), *torch.autograd.grad(out, [tensors[name] for name in wanted], grad)]

    choices = [list(tensors), *([name] for name in tensors)]
    fused = [results(wanted) for wanted in choices]
    assert "_GCN" in type(conv(x, graph).grad_fn).__name__ or graph.num_nodes == 0
    conv.lin.register_forward_hook(lambda *_: None)  # a hook has to see its map
    assert "_GCN" not in type(conv(x, graph).grad_fn).__name__
    for wanted, found in zip(choices, fused, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(found, results(wanted), strict=True)), wanted
