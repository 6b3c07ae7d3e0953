"""From stored edges to a graph: reverse edges, features in 16 bits, and files read in chunks."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import torch

from revgnn.data import load
from revgnn.data.build_graph import build_graph
from revgnn.data.readers import csv as csv_module
from revgnn.data.readers import ogb as ogb_module
from revgnn.data.readers.csv import read_csv
from revgnn.graph import Graph
from revgnn.testing import awkward_graphs

CASES = awkward_graphs(num_edge_features=3)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("features", [False, True])
def test_every_edge_is_followed_by_its_reverse(case, features):
    stored = case.graph.edge_index.numpy()
    stored = stored[:, np.random.default_rng(0).permutation(stored.shape[1])]
    edge_attr = case.graph.edge_attr.numpy() if features else None
    graph = build_graph(stored, case.graph.num_nodes, edge_attr, add_inverse=True)
    both = torch.from_numpy(np.stack([stored, stored[::-1]], axis=2).reshape(2, -1))
    twice = None if edge_attr is None else torch.from_numpy(np.repeat(edge_attr, 2, axis=0))
    expected = Graph.from_edge_index(both, case.graph.num_nodes, twice)
    assert torch.equal(graph.indptr, expected.indptr)
    assert torch.equal(graph.src, expected.src)
    assert graph.src.dtype == expected.src.dtype
    assert graph.edge_ids is None
    if features:
        assert torch.equal(graph.edge_attr, expected.edge_attr)
    Graph(graph.indptr, graph.src, graph.edge_attr)  # passes every check


@pytest.mark.parametrize("options", [{}, {"add_inverse": True}, {"undirected": True}, {"self_loops": False}], ids=str)
def test_features_in_16_bits_are_the_same_features(options):
    rng = np.random.default_rng(0)
    edge_index, whole = rng.integers(0, 20, (2, 150)), rng.integers(-5, 1000, (150, 2)).astype(np.int16)
    small = build_graph(edge_index, 20, whole, edge_scale=0.001, **options)
    plain = build_graph(edge_index, 20, (whole / 1000).astype(np.float32), **options)
    assert torch.equal(small.src, plain.src)
    assert torch.equal(small.edge_features(), plain.edge_attr)
    # A mean of doubled edges need not be a multiple of the scale.
    assert small.edge_attr.dtype == (torch.float32 if "undirected" in options else torch.int16)


def test_features_are_compressed_before_the_graph_is_built(real_data, monkeypatch):
    dtypes, inner = [], ogb_module.build_graph

    def spy(edge_index, num_nodes, edge_attr, **options):
        dtypes.append(edge_attr.dtype)
        return inner(edge_index, num_nodes, edge_attr, **options)

    monkeypatch.setattr(ogb_module, "build_graph", spy)
    small = load("ogbn-humanppi", real_data, cache=False, edge_storage="auto")
    plain = load("ogbn-humanppi", real_data, cache=False)
    assert dtypes == [np.int16, np.float32]
    assert torch.equal(small.graph.src, plain.graph.src)
    assert torch.equal(small.graph.edge_features(), plain.graph.edge_attr)
    assert torch.equal(small.x, plain.x)


@pytest.mark.parametrize("rows", [0, 3, 7, 100])
def test_a_file_read_in_chunks_is_complete(tmp_path, monkeypatch, rows):
    pytest.importorskip("pandas")
    monkeypatch.setattr(csv_module, "_CHUNK_ROWS", 2)
    path = tmp_path / "edge-feat.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write("".join(f"{n},{n / 8}\n" for n in range(7)))
    out = read_csv(path, np.float32, rows)
    assert out.dtype == np.float32
    assert out.flags.c_contiguous
    assert np.array_equal(out, [[n, n / 8] for n in range(7)])
    with gzip.open(path, "wt") as file:
        file.write("1,2\n3,4\n5,six\n")
    with pytest.raises(ValueError, match=r"edge-feat.csv.gz cannot be read as a csv of float32"):
        read_csv(path, np.float32, rows)
