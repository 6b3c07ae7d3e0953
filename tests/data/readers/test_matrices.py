"""Matrix Market, SciPy's sparse .npz and METIS: the same graph as SciPy reads, and real graphs."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import scipy.io
import scipy.sparse
import torch
from torch_geometric.datasets import HeterophilousGraphDataset
from torch_geometric.utils import from_scipy_sparse_matrix, to_scipy_sparse_matrix

from revgnn.data import NodeDataset, TableOptions, load, read_npz
from revgnn.data.readers.matrix_market import read_matrix_market
from revgnn.data.readers.metis import read_metis
from revgnn.data.readers.scipy_npz import read_scipy_npz
from tests.data.readers.graphs import assert_same_graph, karate, refuse, trade


def labelled(folder: Path, count: int) -> TableOptions:
    np.save(folder / "y.npy", np.arange(count) % 2)
    return TableOptions(label_file=str(folder / "y.npy"))


def pairs(dataset: NodeDataset) -> set[tuple[int, int]]:
    return set(zip(dataset.graph.src.tolist(), dataset.graph.dst.tolist(), strict=True))


MATRICES = {
    "karate": nx.to_scipy_sparse_array(karate()).astype(np.float64),
    "trade": nx.to_scipy_sparse_array(trade()),
    "pattern": scipy.sparse.coo_array((np.random.default_rng(0).random((40, 40)) < 0.1).astype(np.float64)),
    "empty rows": scipy.sparse.coo_array(([2.0, 3.0], ([0, 5], [5, 1])), shape=(9, 9)),
}


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("ending", ["mtx", "mtx.gz", "npz"])
def test_the_same_edges_as_scipy_and_pytorch_geometric(tmp_path: Path, name: str, ending: str) -> None:
    matrix: Any = MATRICES[name]
    path = tmp_path / f"graph.{ending}"
    if ending == "npz":
        scipy.sparse.save_npz(path, matrix.tocsr())
        again: Any = scipy.sparse.load_npz(path)
    else:
        scipy.io.mmwrite(tmp_path / "graph.mtx", matrix)
        if ending == "mtx.gz":
            path.write_bytes(gzip.compress((tmp_path / "graph.mtx").read_bytes()))
        again = scipy.io.mmread(path)
    dataset = load(str(path), tables=labelled(tmp_path, matrix.shape[0]))
    edge_index, _ = from_scipy_sparse_matrix(scipy.sparse.coo_matrix(again))
    assert pairs(dataset) == set(map(tuple, edge_index.t().tolist()))
    assert dataset.graph.num_edges == edge_index.shape[1]
    assert dataset.num_nodes == matrix.shape[0]


@pytest.mark.parametrize("ending", ["mtx", "npz"])
def test_weights_and_direction(tmp_path: Path, ending: str) -> None:
    for name, graph in (("karate", karate()), ("trade", trade())):
        path = tmp_path / f"{name}.{ending}"
        matrix = nx.to_scipy_sparse_array(graph)
        if ending == "npz":
            scipy.sparse.save_npz(path, matrix)
        else:
            scipy.io.mmwrite(path, matrix)
        assert_same_graph(load(str(path), tables=labelled(tmp_path, len(graph))), graph, label=None)


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia"])
def test_every_form_of_a_sparse_matrix(tmp_path: Path, form: str) -> None:
    matrix: Any = MATRICES["empty rows"]
    scipy.sparse.save_npz(tmp_path / "graph.npz", matrix.asformat(form))
    table = read_scipy_npz(tmp_path / "graph.npz")
    assert table.directed
    rows = zip(*[table.edges.column(name).to_pylist() for name in ("source", "target", "weight")], strict=True)
    assert sorted(rows) == [(0, 5, 2.0), (5, 1, 3.0)]


def test_a_real_graph_in_every_form_is_the_same(real_data: Path, tmp_path: Path) -> None:
    """The edges of minesweeper, with its labels beside them."""
    own = load("minesweeper", real_data)
    with np.load(real_data / "heterophilous/minesweeper/raw/minesweeper.npz") as z:
        edges, y = z["edges"], z["node_labels"]
    matrix: Any = scipy.sparse.coo_matrix((np.ones(len(edges)), edges.T), shape=(10_000, 10_000)).tocsr()
    matrix = ((matrix + matrix.T) > 0).astype(np.int8)
    scipy.sparse.save_npz(tmp_path / "a.npz", matrix)
    scipy.io.mmwrite(tmp_path / "a.mtx", matrix)
    write_metis(matrix, tmp_path / "a.graph")
    np.savetxt(tmp_path / "a.txt", edges, fmt="%d")
    np.save(tmp_path / "y.npy", y)
    expected = torch.stack([own.graph.src, own.graph.dst])
    for name in ("a.npz", "a.mtx", "a.graph", "a.txt"):
        dataset = load(str(tmp_path / name), tables=TableOptions(label_file=str(tmp_path / "y.npy")))
        assert torch.equal(torch.stack([dataset.graph.src, dataset.graph.dst]), expected)
        assert torch.equal(dataset.y, own.y)


def test_node_features_beside_a_matrix(tmp_path: Path) -> None:
    from revgnn.train.config import DataConfig
    from revgnn.train.datasets import load_dataset

    scipy.sparse.save_npz(tmp_path / "a.npz", nx.to_scipy_sparse_array(karate()))
    labelled(tmp_path, 34)
    x = np.random.default_rng(0).normal(size=(34, 5)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    config = DataConfig(
        name=str(tmp_path / "a.npz"), label_file=str(tmp_path / "y.npy"), node_features=str(tmp_path / "x.npy"), split=1
    )
    dataset = load_dataset(config)
    assert dataset.x is not None
    assert np.array_equal(dataset.x.numpy(), x)
    assert dataset.y.tolist() == [0, 1] * 17


def test_pytorch_geometrics_matrix_of_a_graph(copy_of_real_data, tmp_path: Path) -> None:
    data: Any = HeterophilousGraphDataset(str(copy_of_real_data("heterophilous/minesweeper") / "heterophilous"), "minesweeper")[0]
    scipy.io.mmwrite(tmp_path / "a.mtx", to_scipy_sparse_matrix(data.edge_index, num_nodes=10_000))
    table = read_matrix_market(tmp_path / "a.mtx")
    assert table.edges.num_rows * (1 if table.directed else 2) == data.edge_index.shape[1]


# --- METIS --------------------------------------------------------------------------------------------------------------

MANUAL = {
    # The graphs of figure 2 of the manual of METIS 5.1, all with these edges.
    "plain": "% figure 2a\n7 11\n5 3 2\n1 3 4\n5 4 2 1\n2 3 6 7\n1 3 6\n5 4 7\n6 4\n",
    "edge weights": "7 11 001\n5 1 3 2 2 1\n1 1 3 2 4 1\n5 3 4 2 2 2 1 2\n2 1 3 2 6 2 7 5\n1 1 3 3 6 2\n5 2 4 2 7 6\n6 6 4 5\n",
    "both weights": "7 11 011\n4 5 1 3 2 2 1\n2 1 1 3 2 4 1\n5 5 3 4 2 2 2 1 2\n3 2 1 3 2 6 2 7 5\n1 1 1 3 3 6 2\n"
    "6 5 2 4 2 7 6\n2 6 6 4 5\n",
    "several weights": "7 11 010 3\n1 2 0 5 3 2\n0 2 2 1 3 4\n4 1 1 5 4 2 1\n2 2 3 2 3 6 7\n1 1 1 1 3 6\n2 2 1 5 4 7\n1 2 1 6 4\n",
}
EDGES = {(0, 4), (0, 2), (0, 1), (1, 2), (1, 3), (2, 4), (2, 3), (3, 5), (3, 6), (4, 5), (5, 6)}
WEIGHTS = {(0, 4): 1, (0, 2): 2, (0, 1): 1, (1, 2): 2, (1, 3): 1, (2, 4): 3, (2, 3): 2, (3, 5): 2, (3, 6): 5, (4, 5): 2, (5, 6): 6}


def write_metis(matrix: Any, path: Path) -> None:
    rows = np.split(matrix.indices + 1, matrix.indptr[1:-1])
    lines = [f"{matrix.shape[0]} {matrix.nnz // 2}", *(" ".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize("name", MANUAL)
def test_the_graphs_of_the_manual(tmp_path: Path, name: str) -> None:
    path = tmp_path / "manual.graph"
    path.write_text(MANUAL[name], encoding="utf-8")
    table = read_metis(path)
    ends = list(zip(table.edges.column("source").to_pylist(), table.edges.column("target").to_pylist(), strict=True))
    assert set(ends) == EDGES
    assert len(ends) == 11
    if "weight" in table.edges.column_names:
        assert dict(zip(ends, table.edges.column("weight").to_pylist(), strict=True)) == WEIGHTS
    assert ("weight" in table.edges.column_names) == (name in ("edge weights", "both weights"))
    if name == "both weights":
        assert table.nodes is not None
        assert table.nodes.column("weight").to_pylist() == [4, 2, 5, 3, 1, 6, 2]
    if name == "several weights":
        assert table.nodes is not None
        assert table.nodes.column("weight_1").to_pylist() == [1, 0, 4, 2, 1, 2, 1]
        assert table.nodes.column("weight_3").to_pylist() == [0, 2, 1, 3, 1, 1, 1]
    np.save(tmp_path / "y.npy", [0, 1, 0, 1, 0, 1, 0])
    options = TableOptions(label_file=str(tmp_path / "y.npy"), split_ratios=(1.0, 0.0, 0.0))
    assert pairs(load(str(path), tables=options)) == EDGES | {(b, a) for a, b in EDGES}


def test_metis_with_isolated_nodes(tmp_path: Path) -> None:
    path = tmp_path / "a.graph"
    path.write_text("5 1\n\n3\n2\n\n\n", encoding="utf-8")
    table = read_metis(path)
    assert table.num_nodes == 5
    assert table.edges.to_pylist() == [{"source": 1, "target": 2}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as METIS|an empty file"),
        ("7\n", "its first line must be"),
        ("999999999999999999 1\n2\n1\n", "promises 999,999,999,999,999,999 nodes"),
        ("2 999999999\n2\n1\n", "999,999,999 edges"),
        ("2 1\n2\n", "lists 1 neighbours|has"),
        ("2 1\n2\n1\n1\n", "more lines than the 2 nodes"),
        ("2 1\n3\n1\n", "names node 3; nodes are 1 to 2"),
        ("2 1\n0\n1\n", "names node 0"),
        ("2 1\n99999999999999999999\n1\n", "nodes are 1 to 2"),
        ("2 1\n-2\n1\n", "whole numbers only"),
        ("2 1\n2.5\n1\n", "whole numbers only"),
        ("3 2\n2 2\n1\n1\n", "each edge at both of its ends"),
        ("2 1 001\n2\n1\n", "does not fit the header"),
    ],
)
def test_damaged_metis(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.graph"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_metis(path)
    refuse(path)


# --- refused ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read as Matrix Market"),
        ("%%MatrixMarket matrix coordinate real general\n10 10 999999999999\n1 1 1\n", "promises 999,999,999,999 entries"),
        ("%%MatrixMarket matrix coordinate pattern general\n999999999999 999999999999 1\n1 1\n", "promises 1 entries and 999,999"),
        ("%%MatrixMarket matrix coordinate pattern general\n2000000000 2000000000 1\n1 1\n", "nearly all would be isolated"),
        ("%%MatrixMarket matrix coordinate pattern general\n3 3 1\n4 1\n", "cannot be read"),
        ("%%MatrixMarket matrix coordinate pattern general\n3 3 1\n0 1\n", "cannot be read"),
        ("%%MatrixMarket matrix coordinate pattern general\n3 3 3\n1 1\n", "cannot be read"),
        ("%%MatrixMarket matrix coordinate pattern general\n3 4 1\n1 1\n", "3 x 4"),
        ("%%MatrixMarket matrix coordinate complex general\n3 3 1\n1 1 1 1\n", "complex"),
        ("%%MatrixMarket matrix array real general\n1000000 1000000\n1\n", "array"),
        ("%%MatrixMarket matrix coordinate real skew-symmetric\n3 3 1\n2 1 1\n", "skew"),
    ],
)
def test_damaged_matrix_market(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.mtx"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_matrix_market(path)
    refuse(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"indices": np.array([7])}, "cannot be read as SciPy sparse"),
        ({"indptr": np.array([0, 5, 1, 1])}, "cannot be read as SciPy sparse"),
        ({"shape": np.array([3, 4])}, "square"),
        ({"shape": np.array([3 * 10**9] * 2)}, "cannot be read|refused"),
        ({"format": np.array("exe")}, "cannot be read"),
        ({"data": np.array([object()])}, "cannot be read"),
        ({"data": np.array([1j])}, "weights are real numbers"),
        ({"data": np.array(["a"])}, "cannot be read|weights are real"),
    ],
)
def test_damaged_sparse_npz(tmp_path: Path, change: dict[str, np.ndarray], message: str) -> None:
    arrays = {
        "format": np.array("csr"),
        "shape": np.array([3, 3]),
        "data": np.array([1.0]),
        "indices": np.array([1]),
        "indptr": np.array([0, 1, 1, 1]),
    }
    path = tmp_path / "a.npz"
    np.savez(path, **(arrays | change))  # type: ignore[arg-type] - no array is named allow_pickle
    with pytest.raises(ValueError, match=message):
        read_scipy_npz(path)
    refuse(path)


def test_own_arrays_are_not_taken_for_a_sparse_matrix(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, edge_index=np.array([[0, 1, 2, 3], [1, 2, 3, 0]]), y=np.arange(20) % 2, format=np.array("csr"), x=np.eye(20))
    assert load(str(path), ignore_unknown=True).num_nodes == read_npz(path, ignore_unknown=True).num_nodes == 20
