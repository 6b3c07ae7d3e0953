"""The graph of ogbn-proteins' size, at sizes a test can afford: exact, symmetric, heavy-tailed."""

from __future__ import annotations

import pytest
import torch

from revgnn.data.generated.full_size import full_size
from revgnn.graph import Graph


@pytest.mark.parametrize(("nodes", "edges"), [(2000, 60_000), (2000, 0), (50, 1224), (2, 0), (1, 0), (0, 0)])
def test_exactly_as_large_as_asked_for(nodes, edges):
    graph = full_size(nodes, edges, 3)
    assert (graph.num_nodes, graph.num_edges, graph.num_edge_features) == (nodes, edges, 3)
    Graph(graph.indptr, graph.src, graph.edge_attr)  # passes every check
    assert not bool((graph.src == graph.dst).any())
    pairs = graph.src.long() * max(nodes, 1) + graph.dst
    assert pairs.unique().numel() == edges
    # Every edge has its reverse, with the same features.
    there, back = pairs.sort().indices, (graph.dst.long() * max(nodes, 1) + graph.src).sort().indices
    assert torch.equal(pairs[there], (graph.dst.long() * max(nodes, 1) + graph.src)[back])
    assert torch.equal(graph.edge_attr[there], graph.edge_attr[back])


def test_degrees_are_heavy_tailed_and_features_thousandths():
    graph = full_size(5000, 200_000, seed=3)
    degree = graph.in_degree.float()
    assert degree.max() > 8 * degree.mean()
    assert degree.median() < 0.8 * degree.mean()
    # Hubs have no numbers of their own.
    assert abs(torch.corrcoef(torch.stack([degree, torch.arange(5000.0)]))[0, 1]) < 0.05
    features = graph.edge_attr
    assert features.min() == 0
    assert features.max() == 1
    assert torch.equal(features, ((features * 1000).round().double() / 1000).float())
    torch.testing.assert_close(features.mean(0), torch.full((8,), 0.5), atol=0.01, rtol=0)
    assert torch.corrcoef(features.T).sub(torch.eye(8)).abs().max() < 0.02


def test_the_same_graph_in_16_bits():
    plain, small = full_size(300, 4000), full_size(300, 4000, edge_storage="int16")
    assert small.edge_attr.dtype == torch.int16
    assert torch.equal(plain.src, small.src)
    assert torch.equal(plain.edge_attr, small.edge_features())
    assert torch.equal(plain.compressed().edge_attr, small.edge_attr)
    assert not torch.equal(plain.src, full_size(300, 4000, seed=1).src)
    assert full_size(300, 4000, 0).edge_attr is None


@pytest.mark.parametrize("edges", [-2, 3, 50 * 49])
def test_sizes_that_cannot_be(edges):
    with pytest.raises(ValueError, match=r"num_edges must be even and between 0 and half of all ordered pairs \(1225\)"):
        full_size(50, edges)
