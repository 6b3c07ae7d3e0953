"""Many graphs as one: reading TU's format as PyTorch Geometric does, taking graphs out, refusing what is damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.io import read_tu_data

from revgnn import Graph
from revgnn.data import ManyGraphs, load, save_npz
from revgnn.data.fingerprint import changed_parts, fingerprint
from revgnn.data.readers.tu import read_tu
from tests.data.many import write_tu


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tu(tmp_path_factory.mktemp("tu") / "TOY")


def edges_of(graph: Graph) -> torch.Tensor:
    """Return edges with their features in one order, (E, 2 + K)."""
    rows = torch.stack([graph.src.long(), graph.dst.long()], dim=1).double()
    features = graph.edge_features(torch.float64)
    rows = rows if features is None else torch.cat([rows, features], dim=1)
    return rows[np.lexsort((rows[:, 0].numpy(), rows[:, 1].numpy()))]


def test_it_reads_what_pytorch_geometric_reads(toy: Path) -> None:
    ours, (theirs, slices, _) = load(str(toy)), read_tu_data(str(toy), "TOY")
    assert ours.graphs is not None
    assert torch.equal(ours.x, theirs.x)
    assert torch.equal(ours.y, theirs.y)
    assert torch.equal(ours.graphs.indptr, slices["x"])
    shift = torch.repeat_interleave(slices["x"][:-1], slices["edge_index"].diff())
    their_edges = torch.cat([(theirs.edge_index + shift).T.double(), theirs.edge_attr.double()], dim=1)
    order = np.lexsort((their_edges[:, 0].numpy(), their_edges[:, 1].numpy()))
    assert torch.equal(edges_of(ours.graph), their_edges[order])
    assert (ours.task, ours.row, ours.num_rows) == ("binary", "graph", 60)
    assert "60 graphs" in ours.summary()


def test_numbers_of_graphs(tmp_path: Path) -> None:
    data = load(str(write_tu(tmp_path / "N", numbers=True)))
    assert (data.task, data.num_outputs, data.metric) == ("regression", 2, "mae")
    with pytest.raises(ValueError, match=r"graph_attributes.* but no labels, which a binary task needs"):
        read_tu(tmp_path / "N", task="binary")
    assert read_tu(write_tu(tmp_path / "C"), task="regression").y.unique().tolist() == [-1, 1]


def test_graphs_that_are_taken_are_those_read_alone(toy: Path) -> None:
    """Any selection in any order: nodes, edges and edge features are those of each graph by itself, and none is mixed."""
    data = load(str(toy))
    assert data.graphs is not None
    for chosen in (torch.arange(60), torch.tensor([59]), torch.tensor([7, 0, 33, 14, 12])):
        nodes, graph, indptr = data.graphs.take(data.graph, chosen)
        Graph(graph.indptr, graph.src, graph.edge_attr)  # validates every index
        for position, g in enumerate(chosen.tolist()):
            own = torch.arange(int(data.graphs.indptr[g]), int(data.graphs.indptr[g + 1]))
            assert torch.equal(nodes[indptr[position] : indptr[position + 1]], own)
        back = torch.stack([nodes[graph.src.long()], nodes[graph.dst.long()]], dim=1).double()
        inside = torch.isin(data.graph.dst.long(), nodes)
        assert len(back) == int(inside.sum())
        attr = graph.edge_features(torch.float64)
        assert attr is not None
        rows = torch.cat([back, attr], dim=1)
        rows = rows[np.lexsort((rows[:, 0].numpy(), rows[:, 1].numpy()))]
        assert torch.equal(rows, edges_of(data.graph)[torch.isin(edges_of(data.graph)[:, 1].long(), nodes)])


def test_npz_and_back(toy: Path, tmp_path: Path) -> None:
    data = load(str(toy))
    save_npz(data, tmp_path / "toy.npz")
    again = load(str(tmp_path / "toy.npz"))
    assert changed_parts(fingerprint(data), fingerprint(again)) == []
    assert again.graphs is not None
    moved = ManyGraphs(torch.clamp(again.graphs.graph_of_node, max=58))  # the last two graphs become one
    assert not torch.equal(moved.graph_of_node, again.graphs.graph_of_node)


@pytest.mark.parametrize(
    ("owner", "message"),
    [
        ([0, 0, 2], "leave out no graph.*node 2 does not follow"),
        ([0, 1, 0], "node 2 does not follow"),
        ([1, 1, 1], "node 0 does not follow"),
        ([0, 0], r"must be int64 of shape \(3,\)"),
        ([0, 1, 1], "the edge 0 -> 1 joins graph 0 and graph 1"),
    ],
)
def test_what_is_not_block_diagonal_is_refused(tmp_path: Path, owner: list[int], message: str) -> None:
    arrays = {"edge_index": np.array([[0], [1]]), "x": np.ones((3, 1)), "y": np.array([0, 1])}
    np.savez(tmp_path / "g.npz", graph_of_node=np.array(owner), **arrays)
    graph = Graph.from_edge_index(torch.tensor([[0], [1]]), 3)
    with pytest.raises(ValueError, match=message):
        ManyGraphs(torch.tensor(owner)).check(graph, "g")
    with pytest.raises(ValueError, match=r"g\.npz"):
        load(str(tmp_path / "g.npz"))


@pytest.mark.parametrize(
    ("what", "text", "message"),
    [
        ("A", "3", "TOY_A.txt cannot be read as int64"),
        ("A", "1, 999", "edge 0 has destination 998"),
        ("A", "1, 2, 3\n", "TOY_A.txt has 1 rows of 3"),
        ("graph_labels", "1\n", "TOY_graph_labels.txt has 1 rows of 1; expected 60 rows"),
        ("graph_labels", None, "has no file TOY_graph_labels.txt"),
        ("node_attributes", "nan, 1\n" * 3, "TOY_node_attributes.txt has 3 rows"),
        ("node_labels", "a\n", "TOY_node_labels.txt cannot be read"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, what: str, text: str | None, message: str) -> None:
    folder = write_tu(tmp_path / "TOY")
    path = folder / f"TOY_{what}.txt"
    if text is None:
        path.unlink()
    elif text.endswith("\n"):
        path.write_text(text)
    else:  # the first line
        path.write_text("\n".join([text, *path.read_text().splitlines()[1:]]))
    with pytest.raises(ValueError, match=message):
        load(str(folder))
