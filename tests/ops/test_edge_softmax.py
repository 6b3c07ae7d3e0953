"""`edge_softmax`: torch's softmax on every node's edges, and the fused kernels compute it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from revgnn.graph import Graph
from revgnn.ops import edge_softmax
from revgnn.testing import NamedGraph
from revgnn.testing.comparison import assert_matches_reference
from revgnn.testing.operators import GRAPHS, softmax_on, softmax_scores

BACKENDS = ["cpu", "reference"]


@pytest.mark.parametrize("named", GRAPHS, ids=str)
def test_reference_is_the_softmax_of_each_node_and_passes_gradcheck(named: NamedGraph) -> None:
    graph = named.graph
    scores = softmax_scores(graph, 2)
    out = edge_softmax(scores, graph, backend="reference")
    for i in range(graph.num_nodes):
        into = slice(int(graph.indptr[i]), int(graph.indptr[i + 1]))
        torch.testing.assert_close(out[into], scores[into].softmax(0))
    if graph.num_edges:
        function = lambda s: edge_softmax(s, graph, backend="reference")  # noqa: E731
        assert torch.autograd.gradcheck(function, (scores.requires_grad_(),), fast_mode=True)


def test_many_heads() -> None:
    graph = dict(GRAPHS)["power law"]
    assert_matches_reference(softmax_on(graph), {"scores": softmax_scores(graph, 131)}, dtype=torch.float32)


@pytest.mark.parametrize("backend", BACKENDS)
def test_scores_of_any_size(backend: str) -> None:
    graph = dict(GRAPHS)["complete"]
    scores = softmax_scores(graph, 3).float()
    expected = edge_softmax(scores, graph, backend=backend)
    shifted = edge_softmax(scores * 1e4 + 3e38, graph, backend=backend)
    assert torch.isfinite(shifted).all()
    # subtracting a power of two that leaves the digits of the scores alone changes nothing
    exact = scores.mul(2**10).round().div(2**10)
    shift = edge_softmax(exact + 4096.0, graph, backend=backend)
    assert torch.equal(shift, edge_softmax(exact, graph, backend=backend))
    torch.testing.assert_close(expected.reshape(17, 17, 3).sum(1), torch.ones(17, 3))


@pytest.mark.parametrize("backend", BACKENDS)
def test_minus_infinity_is_an_absent_edge(backend: str) -> None:
    graph = dict(GRAPHS)["complete"]
    scores, absent = softmax_scores(graph, 3), torch.zeros(17 * 17, 1, dtype=torch.bool)
    absent[::3] = True
    absent[34:51] = True
    leaf = scores.clone().requires_grad_()
    out = edge_softmax(leaf.masked_fill(absent, float("-inf")), graph, backend=backend)
    kept = (~absent).squeeze(1)
    smaller = Graph.from_edge_index(graph.edge_index[:, kept], 17)
    other = scores[kept].clone().requires_grad_()
    expected = edge_softmax(other, smaller, backend="reference")
    torch.testing.assert_close(out[kept], expected)
    assert not out[~kept].any()
    (ours,), (theirs,) = (torch.autograd.grad(value.square().sum(), t) for value, t in ((out, leaf), (expected, other)))
    torch.testing.assert_close(ours[kept], theirs)
    assert not ours[~kept].any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_spreads_over_its_node_alone(backend: str) -> None:
    graph = dict(GRAPHS)["complete"]
    scores = softmax_scores(graph, 3)
    scores[40, 1] = float("nan")
    out = edge_softmax(scores, graph, backend=backend).reshape(17, 17, 3)
    assert out[2, :, 1].isnan().all()
    assert out.isnan().sum() == 17


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_computed_in_float32_and_rounded_once(dtype: torch.dtype) -> None:
    graph = dict(GRAPHS)["power law"]
    scores = softmax_scores(graph, 3).to(dtype)
    assert torch.equal(edge_softmax(scores, graph), edge_softmax(scores.float(), graph).to(dtype))


def test_any_number_of_threads_gives_the_same_bits() -> None:
    graph = Graph.from_edge_index(torch.randint(0, 700, (2, 90_000)), 700)
    scores = softmax_scores(graph, 3).float().requires_grad_()
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            out = edge_softmax(scores, graph)
            results.append([out, *torch.autograd.grad(out.square().sum(), scores)])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (torch.ones(11, 3), r"scores must be floating point \(12, H\), got torch.float32 of shape \(11, 3\)"),
        (torch.ones(12), "scores must be floating point"),
        (torch.ones(12, 3, dtype=torch.int64), "got torch.int64"),
        (torch.ones(12, 3, device="meta"), "scores are on meta but the graph is on cpu"),
    ],
)
def test_bad_input_is_refused(scores: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        edge_softmax(scores, dict(GRAPHS)["path"])


def test_unknown_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown backend 'tpu'"):
        edge_softmax(torch.ones(12, 3), dict(GRAPHS)["path"], backend="tpu")
