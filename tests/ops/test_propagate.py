"""`propagate`: the definition is differentiable, and the fused kernels compute it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from revgnn.graph import Graph
from revgnn.ops import Max, Mean, Sum, propagate
from revgnn.testing import NamedGraph, peak_bytes
from revgnn.testing.comparison import assert_matches_reference
from revgnn.testing.operators import GRAPHS, propagate_leaves, propagate_on


def assert_kernels_match(graph: Graph, shape: tuple[int, ...], how: Sum | Mean, weighted: bool, dtype: torch.dtype) -> None:
    draws = [propagate_leaves(graph, shape, weighted=weighted, seed=seed) for seed in range(4)]
    assert_matches_reference(propagate_on(graph, how), *draws, dtype=dtype)


@pytest.mark.parametrize("named", GRAPHS, ids=str)
@pytest.mark.parametrize("how", [Sum(), Mean()], ids=str)
def test_reference_is_the_weighted_adjacency_and_passes_gradcheck(named: NamedGraph, how: Sum | Mean) -> None:
    graph = named.graph
    leaves = propagate_leaves(graph, (2, 3), weighted=True)
    adjacency = torch.zeros(2, graph.num_nodes, graph.num_nodes, dtype=torch.float64)
    for e in range(graph.num_edges):
        adjacency[:, graph.dst[e], graph.src[e]] += leaves["weight"][e]
    if how == Mean():
        adjacency /= graph.in_degree.clamp(min=1).unsqueeze(1)
    expected = torch.einsum("hij,jhc->ihc", adjacency, leaves["x"])
    torch.testing.assert_close(propagate(**leaves, graph=graph, how=how, backend="reference"), expected)
    tensors = tuple(t.requires_grad_() for t in leaves.values())
    assert torch.autograd.gradcheck(lambda x, w: propagate(x, graph, w, how=how, backend="reference"), tensors, fast_mode=True)


@pytest.mark.parametrize("shape", [(1,), (40,), (131,), (2, 1), (2, 131)], ids=str)
def test_any_number_of_channels(shape: tuple[int, ...]) -> None:
    assert_kernels_match(dict(GRAPHS)["power law"], shape, Sum(), True, torch.float32)


@pytest.mark.parametrize("shape", [(0, 0, 7), (5, 0, 7), (5, 9, 0)], ids=["no nodes", "no edges", "no channels"])
def test_nothing_to_propagate(shape: tuple[int, int, int]) -> None:
    num_nodes, num_edges, channels = shape
    graph = Graph.from_edge_index(torch.randint(0, 5, (2, num_edges)), num_nodes)
    x, weight = torch.randn(num_nodes, channels, requires_grad=True), torch.randn(num_edges, requires_grad=True)
    out = propagate(x, graph, weight, how=Mean())
    assert torch.equal(out, torch.zeros(num_nodes, channels))
    for t, grad in zip((x, weight), torch.autograd.grad(out.sum(), (x, weight)), strict=True):
        assert torch.equal(grad, torch.zeros_like(t))


@pytest.mark.parametrize("wanted", ["x", "weight"])
def test_only_the_gradient_that_is_wanted(wanted: str) -> None:
    graph = dict(GRAPHS)["power law"]
    leaves = propagate_leaves(graph, (3, 7), weighted=True)
    leaves[wanted].requires_grad_()
    ours, theirs = (
        torch.autograd.grad(propagate(**leaves, graph=graph, backend=backend).square().sum(), leaves[wanted])[0]
        for backend in ("cpu", "reference")
    )
    torch.testing.assert_close(ours, theirs)


def test_layout_of_the_input_does_not_matter() -> None:
    graph = dict(GRAPHS)["power law"]
    x = torch.randn(7, 3, graph.num_nodes, dtype=torch.float64).permute(2, 1, 0)
    weight = torch.randn(3, graph.num_edges, dtype=torch.float64).t()
    assert torch.equal(propagate(x, graph, weight), propagate(x.contiguous(), graph, weight.contiguous()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_computed_in_float32_and_rounded_once(dtype: torch.dtype) -> None:
    graph = dict(GRAPHS)["power law"]
    leaves = {name: t.to(dtype) for name, t in propagate_leaves(graph, (3, 7), weighted=True).items()}
    out = propagate(**leaves, graph=graph)
    assert torch.equal(out, propagate(**{name: t.float() for name, t in leaves.items()}, graph=graph).to(dtype))


def test_any_number_of_threads_gives_the_same_bits() -> None:
    ends = torch.from_numpy((700 * np.random.default_rng(0).random((2, 90_000)) ** 2).astype(np.int64))
    graph = Graph.from_edge_index(ends, 700)
    leaves = {name: t.float().requires_grad_() for name, t in propagate_leaves(graph, (3, 7), weighted=True).items()}
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            out = propagate(**leaves, graph=graph)
            results.append([out, *torch.autograd.grad(out.square().sum(), list(leaves.values()))])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_no_message_is_ever_stored() -> None:
    num_nodes, num_edges, heads, channels = 500, 40_000, 3, 7
    graph = Graph.from_edge_index(torch.randint(0, num_nodes, (2, num_edges)), num_nodes)
    x, weight = torch.randn(num_nodes, heads, channels, requires_grad=True), torch.rand(num_edges, heads, requires_grad=True)
    assert graph.by_source.dst.numel() == num_edges  # made once, before anything is measured

    def step() -> None:
        torch.autograd.grad(propagate(x, graph, weight).sum(), [x, weight])

    step()
    state, on_edges = 4 * x.numel(), 4 * weight.numel()
    assert peak_bytes(step) < 6 * state + 1.1 * on_edges < channels * on_edges / 2


def test_what_the_backward_pass_does_not_read_is_not_kept() -> None:
    graph = dict(GRAPHS)["complete"]
    for wanted, kept in (("x", "weight"), ("weight", "x")):
        leaves = propagate_leaves(graph, (3, 7), weighted=True)
        leaves[wanted].requires_grad_()
        node: Any = propagate(leaves["x"], graph, leaves["weight"]).grad_fn
        while not hasattr(node, "saved_tensors"):
            node = node.next_functions[0][0]
        saved = [t.data_ptr() for t in node.saved_tensors if t is not None]
        assert leaves[kept].data_ptr() in saved
        assert leaves[wanted].data_ptr() not in saved


def test_real_graph(real_data: Path) -> None:
    """Tolokers: 11,758 nodes, a largest degree of 2,138; weights as in attention."""
    with np.load(real_data / "heterophilous" / "tolokers" / "raw" / "tolokers.npz") as z:
        edges, features = torch.from_numpy(z["edges"]).long(), torch.from_numpy(z["node_features"]).double()
    graph = Graph.from_edge_index(torch.cat([edges, edges.flip(1)]).t(), features.shape[0])
    x = features[:, :7].unsqueeze(1).expand(-1, 3, -1)
    weight = torch.rand(graph.num_edges, 3, dtype=torch.float64) / graph.in_degree[graph.dst].unsqueeze(1)
    assert_matches_reference(propagate_on(graph, Sum()), {"x": x, "weight": weight}, dtype=torch.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"x": torch.ones(12, 7)},
            r"x must be floating point of shape \(13, C\) or \(13, H, C\), got torch.float32 of shape \(12, 7\)",
        ),
        ({"x": torch.ones(13)}, "x must be floating point"),
        ({"weight": torch.ones(11)}, r"weight must be floating point of shape \(12,\), got torch.float32 of shape \(11,\)"),
        ({"weight": torch.ones(12, 2)}, r"weight must be floating point of shape \(12,\)"),
        ({"x": torch.ones(13, 3, 7)}, r"weight must be floating point of shape \(12, 3\), got torch.float32 of shape \(12,\)"),
        ({"weight": torch.ones(12, device="meta")}, "x is on cpu but weight is on meta"),
        ({"how": Max()}, r"how must be Sum\(\) or Mean\(\), got Max\(\)"),
        ({"backend": "tpu"}, "unknown backend 'tpu'; choose 'cpu', 'gpu' or 'reference'"),
    ],
)
def test_bad_input_is_refused(change: dict[str, Any], message: str) -> None:
    arguments = {"x": torch.ones(13, 7), "graph": dict(GRAPHS)["path"], "weight": torch.ones(12)}
    with pytest.raises(ValueError, match=message):
        propagate(**(arguments | change))
