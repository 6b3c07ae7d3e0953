"""Edge features in 16 bits: exact or rounded as documented, refused if they do not fit, and decoded wherever they are used."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from revgnn import ModelConfig, build_model
from revgnn.data import generate, load, read_npz, save_npz
from revgnn.data.node_features import default_node_features
from revgnn.graph import Graph
from revgnn.graph.edge_storage import SCALES, compress, decode
from revgnn.nn import GENConv
from revgnn.ops import Max, Softmax, aggregate
from revgnn.testing import assert_close_to_truth, awkward_graphs
from revgnn.train.config import DataConfig, RunConfig
from revgnn.train.run.session import prepare, training_step

HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def in_thousandths(graph: Graph) -> Graph:
    return graph.with_edge_attr(((graph.edge_attr * 1000).round().double() / 1000).float())


CASES = [(case.name, in_thousandths(case.graph)) for case in awkward_graphs(num_edge_features=3)]
every_graph = pytest.mark.parametrize("graph", [graph for _, graph in CASES], ids=[name for name, _ in CASES])


@pytest.mark.parametrize("scale", SCALES)
def test_every_decimal_that_fits_is_recovered_exactly(scale):
    whole = np.arange(-32767, 32768)
    decimals = (whole / round(1 / scale)).astype(np.float32)  # as a parser reads "0.123"
    values = torch.from_numpy(decimals).unsqueeze(1)
    stored, found = compress(values, 1.0, "int16")
    assert (found, stored.dtype) == (scale, torch.int16)
    assert torch.equal(stored[:, 0], torch.from_numpy(whole).to(torch.int16))
    assert torch.equal(decode(stored, found, torch.float32), values)


def test_a_human_interaction_graph_is_halved_without_loss(real_data):
    graph = load("ogbn-humanppi", real_data, cache=False).graph
    small = graph.compressed()
    assert (small.edge_attr.dtype, small.edge_scale) == (torch.int16, 0.001)
    assert torch.equal(small.edge_features(), graph.edge_attr)
    assert small.src is graph.src


@every_graph
def test_graphs_made_from_a_compressed_graph_have_the_same_features(graph):
    small = graph.compressed()
    if graph.num_edges:
        assert (small.edge_attr.dtype, small.edge_scale) == (torch.int16, 0.001)
    nodes = torch.arange(0, graph.num_nodes, 2)
    pairs = [
        (small, graph),
        (small.subgraph(nodes), graph.subgraph(nodes)),
        (small.with_self_loops(0.25), graph.with_self_loops(0.25)) if graph.num_edges else (small, graph),
        (small.compressed(), graph),
        (small.to("cpu"), graph),
        (Graph(small.indptr, small.src, small.edge_attr, edge_scale=small.edge_scale), graph),
        (Graph.from_edge_index(small.edge_index, small.num_nodes, small.edge_attr, edge_scale=small.edge_scale), graph),
    ]
    for ours, plain in pairs:
        assert torch.equal(ours.src, plain.src)
        assert torch.equal(ours.edge_features(), plain.edge_attr)
    torch.testing.assert_close(default_node_features(small), default_node_features(graph), rtol=0, atol=0)
    assert small.edge_features(torch.float64).dtype == torch.float64


@every_graph
@pytest.mark.parametrize("kind", HALVES)
def test_half_precision_rounds_once(graph, kind):
    small = graph.compressed(kind)
    assert (small.edge_attr.dtype, small.edge_scale) == (HALVES[kind], 1.0)
    assert torch.equal(small.edge_attr, graph.edge_attr.to(HALVES[kind]))
    assert torch.equal(small.edge_features(torch.float32), small.edge_attr.float())
    assert small.compressed() is small  # auto does not round again
    assert torch.equal(graph.compressed().compressed(kind).edge_attr, small.edge_attr)
    torch.testing.assert_close(
        default_node_features(small), default_node_features(graph.with_edge_attr(small.edge_attr.float())), rtol=0, atol=0
    )


def test_auto_is_never_lossy():
    graph = Graph.from_edge_index(torch.tensor([[0, 1, 2], [1, 2, 0]]), 3, torch.tensor([0.5, 0.123, 1 / 3]))
    assert graph.compressed() is graph
    with pytest.raises(ValueError, match=r"int16 would lose digits: edge_attr of edge 2 is \[0.333"):
        Graph(graph.indptr, graph.src, torch.tensor([[0.5], [0.123], [1 / 3]])).compressed("int16")
    large = graph.with_edge_attr(torch.tensor([0.5, 0.1, 4000.0]))  # one decimal, but 40,000 tenths
    assert large.compressed() is large
    double = graph.with_edge_attr(torch.tensor([0.5, 0.25, 1.0], dtype=torch.float64))
    assert double.compressed() is double
    with pytest.raises(ValueError, match=r"int16 replaces float32 features, got torch.float64"):
        double.compressed("int16")
    plain = graph.with_edge_attr(None)
    assert plain.compressed("int16") is plain
    assert plain.edge_features() is None


def test_features_and_scales_that_do_not_fit_are_refused():
    graph = Graph.from_edge_index(torch.tensor([[0, 1], [1, 0]]), 2, torch.tensor([1.0, 70_000.0]))
    with pytest.raises(ValueError, match=r"edge_attr of edge \d is \[70000.0\], outside the range of torch.float16"):
        graph.compressed("float16")
    assert torch.isfinite(graph.compressed("bfloat16").edge_attr).all()
    with pytest.raises(ValueError, match="unknown storage 'int8'"):
        graph.compressed("int8")
    whole = torch.tensor([[3], [5]], dtype=torch.int16)
    for bad in (0.0, -0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="edge_scale must be above 0"):
            graph.with_edge_attr(whole, edge_scale=bad)
    with pytest.raises(ValueError, match=r"edge_scale=0.5 and edge_attr of torch.float32"):
        graph.with_edge_attr(torch.ones(2, 1), edge_scale=0.5)
    with pytest.raises(ValueError, match=r"edge_scale=0.5 and no edge_attr"):
        graph.with_edge_attr(None, edge_scale=0.5)
    with pytest.raises(ValueError, match=r"fill must be a multiple .* scale 0.1 .*, got 0.25"):
        graph.with_edge_attr(whole, edge_scale=0.1).with_self_loops(0.25)


def test_features_that_are_not_finite_are_found_in_any_block(monkeypatch):
    monkeypatch.setattr("revgnn.graph.edge_storage._BLOCK_ROWS", 4)
    features = torch.ones(11, 2)
    features[9, 1] = float("inf")
    with pytest.raises(ValueError, match=r"edge_attr of edge 9 is \[1.0, inf\]"):
        Graph(torch.tensor([0, 11]), torch.zeros(11, dtype=torch.int32), features)
    features[9, 1] = 1 / 3
    with pytest.raises(ValueError, match="edge_attr of edge 9"):
        Graph(torch.tensor([0, 11]), torch.zeros(11, dtype=torch.int32), features).compressed("int16")


@every_graph
@pytest.mark.parametrize("how", [Max(), Softmax(0.7)], ids=str)
@pytest.mark.parametrize("kind", ["int16", "float16", "bfloat16"])
def test_aggregation_of_compressed_features(graph, how, kind):
    """Compare the kernels with plain torch on the stored features, and plain torch with its result on decoded ones."""
    small = graph.compressed(kind) if graph.num_edges else graph
    draws = [(torch.randn(graph.num_nodes, 5), torch.randn(3, 5), torch.randn(5)) for _ in range(16)]

    def one(draw, features, scale, dtype, backend):
        leaves = [t.to(dtype).requires_grad_() for t in draw]
        out = aggregate(leaves[0], graph, features, leaves[1] * scale, leaves[2], how=how, backend=backend)
        return [out.detach(), *torch.autograd.grad(out, leaves, torch.ones_like(out))]

    def run(*with_what):
        """Several draws, judged together: how far plain torch is off is then a steady figure."""
        return [torch.stack(same) for same in zip(*(one(draw, *with_what) for draw in draws), strict=True)]

    ours = run(small.edge_attr, small.edge_scale, torch.float32, None)
    plain = run(small.edge_attr, small.edge_scale, torch.float32, "reference")
    truth = run(small.edge_features(torch.float64), 1.0, torch.float64, "reference")
    torch.testing.assert_close(truth, run(small.edge_attr, small.edge_scale, torch.float64, "reference"))
    for name, a, b, c in zip(("value", "x", "weight", "bias"), ours, plain, truth, strict=True):
        assert_close_to_truth(a, b, c, name)


def test_aggregation_refuses_other_integers():
    graph = CASES[-1][1]
    features = torch.ones(graph.num_edges, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"edge_attr must be floating point or int16, got torch.int64"):
        aggregate(torch.ones(graph.num_nodes, 2), graph, features, torch.ones(3, 2))


def test_networks_give_the_same_on_compressed_features():
    data = generate(300)
    small = data.graph.compressed()
    assert small.edge_attr.dtype == torch.int16
    model = build_model(
        ModelConfig(depth=3, channels=16), in_channels=8, out_channels=data.num_outputs, num_edge_features=8, num_species=0
    ).eval()
    model.double()
    x = data.x.double()
    plain = data.graph.with_edge_attr(data.graph.edge_attr.double())
    torch.testing.assert_close(model(small, x), model(plain, x), rtol=1e-5, atol=1e-6)  # decimals in float32 against float64
    model.float()
    model(small, data.x).sum().backward()
    assert model.edges.weight.grad.abs().sum() > 0


def test_a_convolution_accepts_stored_and_decoded_features():
    graph = CASES[-2][1]
    small = graph.compressed()
    conv = GENConv(4, 4, edge_dim=3)
    x = torch.randn(graph.num_nodes, 4)
    torch.testing.assert_close(conv(x, small, small.edge_attr), conv(x, graph, graph.edge_attr))
    torch.testing.assert_close(conv(x, small, small.edge_features()), conv(x, graph, graph.edge_attr), rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"integers are accepted only as graph.edge_attr"):
        conv(x, graph, small.edge_attr)


def test_a_saved_file_holds_decoded_features(tmp_path):
    data = generate(300)
    save_npz(replace(data, graph=data.graph.compressed()), tmp_path / "set.npz")
    assert torch.equal(read_npz(tmp_path / "set.npz").graph.edge_attr, data.graph.edge_attr)


@pytest.mark.parametrize("storage", ["auto", "float16", "bfloat16"])
def test_a_run_trains_on_compressed_features(storage):
    def first_losses(storage):
        data = DataConfig(name="synthetic:nodes=400,degree=12", edge_storage=storage)
        session = prepare(RunConfig(data=data, model=ModelConfig(depth=3, channels=16), parts=2))
        session.model.train()
        with session.partition:
            batches = session.batches.epoch(session.partition, 0)
            return session, [training_step(session, batch) for batch in batches]

    session, losses = first_losses(storage)
    assert session.dataset.graph.edge_attr.dtype == {"auto": torch.int16, **HALVES}[storage]
    _, plain = first_losses("float32")
    assert losses == pytest.approx(plain, rel=1e-4 if storage == "auto" else 0.02)
    assert len(losses) == 2


def test_an_unknown_storage_is_refused():
    with pytest.raises(ValueError, match="edge_storage must be one of float32, auto, float16, bfloat16, got 'int8'"):
        load("synthetic:nodes=300", edge_storage="int8")
