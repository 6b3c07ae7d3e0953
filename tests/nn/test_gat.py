from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.nn import GATConv as PeerGATConv

from revgnn.graph import Graph
from revgnn.nn.gat import GATConv
from revgnn.ops.edge_softmax import edge_softmax
from revgnn.testing import NamedGraph, assert_close_to_truth, awkward_graphs, nan_filled_empty, peak_bytes
from tests.nn.peers import assert_equal_to_peer, cora

OPTIONS = [
    {"heads": 8},
    {"heads": 3, "concat": False, "negative_slope": 0.05},
    {"heads": 2, "bias": False},
    {"heads": 2, "residual": True},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_equals_pyg_on_cora(copy_of_real_data: Callable[[str], Path], options: dict[str, Any]) -> None:
    x, edge_index = cora(copy_of_real_data("planetoid/Cora"))
    assert_equal_to_peer(
        GATConv(1433, 8, add_self_loops=False, **options), PeerGATConv(1433, 8, add_self_loops=False, **options), x, edge_index
    )


def dense(conv: GATConv, x: Tensor, graph: Graph, kept: Tensor | None = None) -> Tensor:
    """Attention edge by edge, with RevGAT's options as the authors' code applies them: degrees are those of all edges."""
    h = conv.lin(x).view(-1, conv.heads, conv.out_channels)
    term_dst = (h * conv.att_dst).sum(-1) if conv.att_dst is not None else torch.zeros(h.shape[:2], dtype=h.dtype)
    if conv.symmetric:
        h = h * graph.out_degree.clamp(min=1).to(h.dtype).pow(-0.5).view(-1, 1, 1)
    term_src = (h * conv.att_src).sum(-1)
    rows = []
    for i in range(graph.num_nodes):
        src = graph.src[graph.indptr[i] : graph.indptr[i + 1]].long()
        if kept is not None:
            src = src[kept[graph.indptr[i] : graph.indptr[i + 1]]]
        alpha = F.leaky_relu(term_src[src] + term_dst[i], conv.negative_slope).softmax(0)
        rows.append((alpha.unsqueeze(2) * h[src]).sum(0))
    out = torch.stack(rows)
    if conv.symmetric:
        out = out * graph.in_degree.clamp(min=1).to(h.dtype).pow(0.5).view(-1, 1, 1)
    out = out.flatten(1) if conv.concat else out.mean(1)
    out = out if conv.res is None else out + conv.res(x)
    return out if conv.bias is None else out + conv.bias


@pytest.mark.parametrize("named", awkward_graphs(), ids=str)
@pytest.mark.parametrize("destination", [True, False])
@pytest.mark.parametrize("symmetric", [True, False])
def test_is_attention_edge_by_edge(named: NamedGraph, destination: bool, symmetric: bool) -> None:
    graph = named.graph
    conv = GATConv(5, 7, add_self_loops=False, heads=3, destination=destination, symmetric=symmetric, residual=True).double()
    x = torch.randn(graph.num_nodes, 5, dtype=torch.float64, requires_grad=True)
    results = [
        [out, *torch.autograd.grad(out.square().sum(), [x, *conv.parameters()])] for out in (conv(x, graph), dense(conv, x, graph))
    ]
    for ours, expected in zip(*results, strict=True):
        torch.testing.assert_close(ours, expected)


def test_without_a_destination_term_there_is_no_parameter_for_it() -> None:
    names = [
        name for name, _ in GATConv(5, 7, add_self_loops=False, destination=False, residual=True, bias=False).named_parameters()
    ]
    assert names == ["att_src", "lin.weight", "res.weight"]


def test_symmetric_with_equal_weights_is_the_normalised_adjacency() -> None:
    graph = dict(awkward_graphs())["power law"]
    conv = GATConv(5, 5, add_self_loops=False, symmetric=True, destination=False).double()
    with torch.no_grad():
        conv.att_src.zero_()
        conv.lin.weight.copy_(torch.eye(5))
    x = torch.randn(graph.num_nodes, 5, dtype=torch.float64)
    adjacency = torch.zeros(graph.num_nodes, graph.num_nodes, dtype=torch.float64)
    adjacency.index_put_((graph.dst.long(), graph.src.long()), torch.ones(1, dtype=torch.float64), accumulate=True)
    into, out_of = adjacency.sum(1).clamp(min=1).pow(-0.5), adjacency.sum(0).clamp(min=1).pow(-0.5)
    torch.testing.assert_close(conv(x, graph), into[:, None] * adjacency * out_of @ x)


def test_dropout_replays_from_the_global_generator() -> None:
    graph = dict(awkward_graphs())["complete"]
    conv, x = GATConv(5, 7, add_self_loops=False, heads=3, dropout=0.5), torch.randn(17, 5)
    outputs = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        outputs.append(conv(x, graph))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])
    with torch.no_grad():
        mean = torch.stack([conv(x, graph) for _ in range(1000)]).mean(0)
        still = conv.eval()(x, graph)
    assert torch.equal(still, conv(x, graph))
    torch.testing.assert_close(mean, still, rtol=0.0, atol=0.2)


def test_same_bits_every_time() -> None:
    """Gradients that gather by node must not depend on which thread comes first (torch's own `term[index]` would)."""
    graph = Graph.from_edge_index(torch.randint(0, 700, (2, 90_000)), 700)
    conv, x = GATConv(5, 7, add_self_loops=False, heads=3, symmetric=True), torch.randn(700, 5, requires_grad=True)
    threads = torch.get_num_threads()
    results = []
    try:
        torch.set_num_threads(3)
        for _ in range(4):
            out = conv(x, graph)
            results.append([out, *torch.autograd.grad(out.square().sum(), [x, *conv.parameters()])])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_under_autocast() -> None:
    graph = dict(awkward_graphs())["power law"]
    conv, x = GATConv(5, 7, add_self_loops=False, heads=3), torch.randn(graph.num_nodes, 5)
    with torch.autocast("cpu", torch.bfloat16):
        out = conv(x, graph)
    torch.testing.assert_close(out.float(), conv(x, graph), rtol=0.1, atol=0.1)


def test_compiles_into_one_graph() -> None:
    graph = dict(awkward_graphs())["power law"]
    conv, x = GATConv(5, 7, add_self_loops=False, heads=3, symmetric=True), torch.randn(graph.num_nodes, 5)
    assert graph.out_degree.numel() == graph.num_nodes  # sorted by source before tracing
    compiled = torch.compile(conv, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, graph), conv(x, graph))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\), got 1.0"),
        ({"edge_dropout": -0.1}, r"edge_dropout must lie in \[0, 1\), got -0.1"),
        ({"heads": 0}, "heads must be 1 or more, got 0"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GATConv(5, 7, **options)


# --- edge dropout ---------------------------------------------------------------------------------------------------------------


def kept_edges(graph: Graph, rate: float, seed: int) -> Tensor:
    """All edges but the first floor(rate E) of the seed's permutation."""
    order = torch.randperm(graph.num_edges, generator=torch.Generator().manual_seed(seed))
    kept = torch.ones(graph.num_edges, dtype=torch.bool)
    kept[order[: math.floor(rate * graph.num_edges)]] = False
    return kept


def value_and_gradients(out: Tensor, x: Tensor, conv: GATConv) -> list[Tensor]:
    projection = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).to(out.dtype).view_as(out)
    return [out, *torch.autograd.grad(out, [x, *conv.parameters()], projection)]


@pytest.mark.parametrize("named", awkward_graphs(), ids=str)
@pytest.mark.parametrize("rate", [0.3, 0.9])
def test_edge_dropout_is_attention_without_those_edges(named: NamedGraph, rate: float) -> None:
    """In float32, no further from float64 than twice plain torch is; at 0.9 whole neighbourhoods vanish."""
    graph, kept = named.graph, kept_edges(named.graph, rate, seed=5)
    conv = GATConv(5, 7, add_self_loops=False, heads=3, destination=rate < 0.5, symmetric=True, residual=True, edge_dropout=rate)
    x = torch.randn(graph.num_nodes, 5, requires_grad=True)
    exact, wide = copy.deepcopy(conv).double(), x.detach().double().requires_grad_()
    with nan_filled_empty():
        ours = value_and_gradients(conv(x, graph, edge_seed=5), x, conv)
    plain = value_and_gradients(dense(conv, x, graph, kept), x, conv)
    truth = value_and_gradients(dense(exact, wide, graph, kept), wide, exact)
    names = ["value", "gradient of x", *(name for name, _ in conv.named_parameters())]
    for name, mine, reference, expected in zip(names, ours, plain, truth, strict=True):
        assert_close_to_truth(mine, reference, expected, name)


@pytest.mark.parametrize("named", [g for g in awkward_graphs() if g.name in ("star in", "doubled edges", "no edges")], ids=str)
def test_edge_dropout_passes_gradcheck(named: NamedGraph) -> None:
    conv = GATConv(3, 2, add_self_loops=False, heads=2, symmetric=True, residual=True, edge_dropout=0.4).double()
    x = torch.randn(named.graph.num_nodes, 3, dtype=torch.float64, requires_grad=True)

    def run(x: Tensor, *parameters: Tensor) -> Tensor:
        values = dict(zip(dict(conv.named_parameters()), parameters, strict=True))
        return torch.func.functional_call(conv, values, (x, named.graph), {"edge_seed": 3})

    assert torch.autograd.gradcheck(run, (x, *conv.parameters()))


def test_edge_dropout_leaves_out_the_same_edges_for_all_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = dict(awkward_graphs())["power law"]
    seen: list[Tensor] = []

    def spy(scores: Tensor, graph: Graph) -> Tensor:
        seen.append(scores.detach() == -math.inf)
        return edge_softmax(scores, graph)

    monkeypatch.setattr("revgnn.nn.gat.edge_softmax", spy)
    conv, x = GATConv(5, 7, add_self_loops=False, heads=3, edge_dropout=0.3), torch.randn(graph.num_nodes, 5)
    random = torch.get_rng_state()
    for seed in (3, 3, 4):
        conv(x, graph, edge_seed=seed)
    assert torch.equal(random, torch.get_rng_state()), "a seed of its own leaves the global generator alone"
    for left_out in seen:
        assert left_out.all(1).sum() == left_out.any(1).sum() == math.floor(0.3 * graph.num_edges)
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])


def test_edge_dropout_without_a_seed_replays_from_the_global_generator() -> None:
    graph = dict(awkward_graphs())["complete"]
    conv, x = GATConv(5, 7, add_self_loops=False, heads=3, edge_dropout=0.5), torch.randn(17, 5)
    outputs = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        outputs.append(conv(x, graph))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_evaluation_drops_no_edges() -> None:
    graph = dict(awkward_graphs())["power law"]
    conv, x = GATConv(5, 7, add_self_loops=False, heads=3, edge_dropout=0.5).eval(), torch.randn(graph.num_nodes, 5)
    random = torch.get_rng_state()
    with_all = conv(x, graph, edge_seed=1)
    assert torch.equal(random, torch.get_rng_state())
    conv.edge_dropout = 0.0
    assert torch.equal(with_all, conv.train()(x, graph))


def test_attention_builds_no_edge_states() -> None:
    """A message a head and edge, E x H x C, would be 64 times the scores; a step stays below it, forward and backward."""
    nodes, edges, heads, channels = 200, 20_000, 2, 64
    graph = Graph.from_edge_index(torch.randint(0, nodes, (2, edges)), nodes)
    assert graph.by_source.edge.numel() == graph.dst.numel() == edges
    conv = GATConv(8, channels, add_self_loops=False, heads=heads, dropout=0.2, edge_dropout=0.3, symmetric=True, residual=True)
    x = torch.randn(nodes, 8, requires_grad=True)
    conv(x, graph).sum().backward()  # compiles the kernels
    assert peak_bytes(lambda: conv(x, graph).sum().backward()) < 0.25 * edges * heads * channels * 4
