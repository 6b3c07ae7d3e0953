"""The fused path of `GENBlock` against the operators one by one: every bit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from revgnn.graph import Graph
from revgnn.kernels import backends
from revgnn.nn import EdgeEncoding, GENBlock, GENConv
from revgnn.ops import gen_block
from revgnn.testing import awkward_graphs

K = 3
CHANNELS = 12


def graph_named(name: str) -> Graph:
    graph = dict(awkward_graphs())[name]
    return graph.with_edge_attr(torch.rand(graph.num_edges, K, generator=torch.Generator().manual_seed(1)))


def block(edges: str) -> GENBlock:
    torch.manual_seed(0)
    width = {"none": None, "features": K, "encoding": 16}[edges]
    made = GENBlock(GENConv(CHANNELS, CHANNELS, aggr="max", norm="layer", bias=True, edge_dim=width, map_edges=True))
    for parameter in made.parameters():
        nn.init.normal_(parameter)
    return made


def run(made: GENBlock, graph: Graph, edges: str, masked: bool, dtype: torch.dtype) -> list[Tensor]:
    """Return the value and the gradients of all leaves, on the device of the graph."""
    rng, device = torch.Generator().manual_seed(2), graph.src.device
    x = torch.randn(graph.num_nodes, CHANNELS, generator=rng, dtype=dtype).to(device).requires_grad_()
    mask = ((torch.rand(x.shape, generator=rng) > 0.2).to(dtype) / 0.8).to(device) if masked else None
    leaves: list[Tensor] = [x, *made.parameters()]
    args: list[object] = [graph]
    if edges == "features":
        args.append(graph.edge_attr)
    if edges == "encoding":
        shared = [torch.randn(s, generator=rng, dtype=dtype).to(device).requires_grad_() for s in ((K, 16), (16,))]
        args.append(EdgeEncoding(graph.edge_attr, *shared))
        leaves += shared
    out = made(x, *args, mask=mask)
    upstream = torch.cos(torch.arange(out.numel(), dtype=dtype)).view_as(out).to(device)
    return [out.detach(), *torch.autograd.grad(out, leaves, upstream)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("masked", [False, True], ids=["unmasked", "masked"])
@pytest.mark.parametrize("edges", ["none", "features", "encoding"])
@pytest.mark.parametrize("name", [name for name, graph in awkward_graphs() if graph.num_nodes])
def test_one_piece_has_the_bits_of_the_operators_one_by_one(
    name: str, edges: str, masked: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_bits(graph_named(name), block(edges).to(dtype), edges, masked, dtype, monkeypatch)


def check_bits(graph: Graph, made: GENBlock, edges: str, masked: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graph.with_edge_attr(graph.edge_attr.to(dtype)) if graph.edge_attr is not None else graph
    pieces: list[int] = []
    whole = gen_block.gen_block
    monkeypatch.setattr(gen_block, "gen_block", lambda *a, **k: pieces.append(1) or whole(*a, **k))
    fused = run(made, graph, edges, masked, dtype)
    assert pieces
    made.conv.register_forward_hook(lambda *_: None)  # hooks see each module called
    one_by_one = run(made, graph, edges, masked, dtype)
    assert len(pieces) == 1
    for ours, expected in zip(fused, one_by_one, strict=True):
        assert torch.equal(ours, expected)


@pytest.mark.skipif(torch.cuda.is_available() or not backends.has_triton(), reason="for Triton's interpreter")
@pytest.mark.parametrize("edges", ["none", "encoding"])
@pytest.mark.parametrize("name", ["path", "doubled edges"])
def test_one_piece_on_a_gpu_has_the_bits_of_the_operators_one_by_one(
    name: str, edges: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends, "_default", lambda device: "gpu")
    check_bits(graph_named(name), block(edges), edges, True, torch.float32, monkeypatch)


@pytest.mark.gpu
@pytest.mark.parametrize("edges", ["none", "features", "encoding"])
def test_one_piece_on_this_gpu_has_the_bits_of_the_operators_one_by_one(edges: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_bits(graph_named("power law").to("cuda"), block(edges).to("cuda"), edges, True, torch.float32, monkeypatch)


def test_features_in_16_bits() -> None:
    graph, made = graph_named("power law"), block("encoding")
    assert graph.edge_attr is not None
    graph = graph.with_edge_attr((graph.edge_attr * 1000).round() / 1000).compressed("int16")
    fused = run(made, graph, "encoding", True, torch.float32)
    made.conv.register_forward_hook(lambda *_: None)
    for ours, expected in zip(fused, run(made, graph, "encoding", True, torch.float32), strict=True):
        assert torch.equal(ours, expected)


def test_a_second_derivative_is_refused() -> None:
    graph, made = graph_named("path"), block("features")
    x = torch.rand(graph.num_nodes, CHANNELS, requires_grad=True)
    (grad,) = torch.autograd.grad(made(x, graph, graph.edge_attr).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError):
        grad.sum().backward()


@pytest.mark.parametrize("changed", ["mask", "features", "weight"])
def test_what_is_changed_in_place_before_the_backward_pass_is_noticed(changed: str) -> None:
    graph, made = graph_named("path"), block("features")
    x, mask = torch.rand(graph.num_nodes, CHANNELS, requires_grad=True), torch.ones(graph.num_nodes, CHANNELS)
    features = graph.edge_attr.clone()
    out = made(x, graph, features, mask=mask)
    with torch.no_grad():
        {"mask": mask, "features": features, "weight": made.conv.mlp[0].weight}[changed].mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


@pytest.mark.parametrize("what", ["autocast", "edge gradient", "compiler", "mode"])
def test_where_it_does_not_fit_the_operators_run_one_by_one(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph, made = graph_named("path"), block("features")
    monkeypatch.setattr(gen_block, "gen_block", lambda *_, **__: pytest.fail("one piece"))
    x = torch.rand(graph.num_nodes, CHANNELS)
    expected_shape = x.shape
    if what == "autocast":
        with torch.autocast("cpu", torch.bfloat16):
            out = made(x, graph, graph.edge_attr)
    elif what == "edge gradient":
        attr = graph.edge_attr.clone().requires_grad_()
        out = made(x, graph, attr)
        (grad,) = torch.autograd.grad(out.square().sum(), attr)
        assert grad.abs().sum() > 0
    elif what == "compiler":
        out = torch.compile(made, backend="aot_eager", fullgraph=True)(x, graph, graph.edge_attr)
    else:
        with FlopCounterMode(display=False):
            out = made(x, graph, graph.edge_attr)
    assert out.shape == expected_shape


def test_bad_input_is_named_by_the_operator_it_reaches() -> None:
    graph, made = graph_named("path"), block("features")
    x = torch.rand(graph.num_nodes, CHANNELS)
    with pytest.raises(ValueError, match="x must be"):
        made(torch.rand(graph.num_nodes + 1, CHANNELS), graph, graph.edge_attr)
    with pytest.raises(ValueError, match=r"edge_attr must have shape \(\d+, K\)"):
        made(x, graph, graph.edge_attr[:, 0])
    with pytest.raises(ValueError, match=r"edge_attr must have shape \(\d+, K\)"):
        made(x, graph, graph.edge_attr[1:])
    with pytest.raises(ValueError, match="x is on cpu but edge_attr is on meta"):
        made(x, graph, graph.edge_attr.to("meta"))
    with pytest.raises(ValueError, match="mask must be"):
        made(x, graph, graph.edge_attr, mask=torch.ones(graph.num_nodes, CHANNELS + 1))
