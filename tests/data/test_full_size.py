"""The generated graph of ogbn-proteins' size, tested at small sizes: exact size, symmetric, heavy-tailed degrees."""

from __future__ import annotations

import pytest
import torch

from revgnn.data.generated.full_size import full_size
from revgnn.graph import Graph


@pytest.mark.parametrize(("nodes", "edges"), [(2000, 60_000), (2000, 0), (50, 1224), (2, 0), (1, 0), (0, 0)])
def test_has_exactly_the_requested_size(nodes, edges):
    graph = full_size(nodes, edges, 3)
    assert (graph.num_nodes, graph.num_edges, graph.num_edge_features) == (nodes, edges, 3)
    Graph(graph.indptr, graph.src, graph.edge_attr)  # passes every check
    assert not bool((graph.src == graph.dst).any())
    pairs = graph.src.long() * max(nodes, 1) + graph.dst
    assert pairs.unique().numel() == edges
    # Every edge has its reverse, with the same features.
    reverse_pairs = graph.dst.long() * max(nodes, 1) + graph.src
    order, reverse_order = pairs.sort().indices, reverse_pairs.sort().indices
    assert torch.equal(pairs[order], reverse_pairs[reverse_order])
    assert torch.equal(graph.edge_attr[order], graph.edge_attr[reverse_order])


def test_degrees_are_heavy_tailed_and_features_thousandths():
    graph = full_size(5000, 200_000, seed=3)
    degree = graph.in_degree.float()
    assert degree.max() > 8 * degree.mean()
    assert degree.median() < 0.8 * degree.mean()
    # The number of a node does not depend on its degree.
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
def test_impossible_sizes_are_refused(edges):
    with pytest.raises(ValueError, match=r"num_edges must be even and between 0 and half of all ordered pairs \(1225\)"):
        full_size(50, edges)
