"""Three tables make a data set of many graphs: nodes name their graph, graphs have labels."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from revgnn.data import NodeDataset, TableOptions, load
from revgnn.data.tables.dataset import read_like
from revgnn.data.tables.files import find_tables
from revgnn.data.tables.stored import StoredTables

NODES = [
    ["id", "graph", "atom", "charge"],
    *[["a", "m2", "C", 1.0], ["b", "m1", "N", 2.0], ["c", "m2", "C", 3.0], ["d", "m3", "O", -1.0], ["e", "m1", "N", 0.5]],
    *[["f", "m4", "C", 1.5], ["g", "m5", "O", 2.5], ["h", "m5", "O", 0.0]],
]
EDGES = [["source", "target"], ["a", "c"], ["e", "b"], ["g", "h"]]
GRAPHS = [["graph", "label", "split"], ["m1", "toxic", "train"], ["m2", "safe", "train"], ["m3", "safe", "valid"]]
GRAPHS += [["m4", "", "test"], ["m5", "toxic", "test"]]

Rows = list[list[Any]]


def write(folder: Path, nodes: Rows = NODES, edges: Rows = EDGES, graphs: Rows | None = GRAPHS) -> Path:
    folder.mkdir(exist_ok=True)
    for name, rows in (("nodes", nodes), ("edges", edges), ("graphs", graphs)):
        if rows is not None:
            with open(folder / f"{name}.csv", "w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(rows)
    return folder


def read(folder: Path, **options: Any) -> NodeDataset:
    return load(f"{folder}/", tables=TableOptions(**options))


def test_nodes_are_in_the_order_of_the_graphs(tmp_path: Path) -> None:
    data = read(write(tmp_path / "m"))
    assert data.graphs is not None
    assert data.graphs.graph_of_node.tolist() == [0, 0, 1, 1, 2, 3, 4, 4]  # b e | a c | d | f | g h
    assert data.y.tolist() == [1, 0, 0, -1, 1]
    assert [part.tolist() for part in (data.split.train, data.split.valid, data.split.test)] == [[0, 1], [2], [4]]
    edges = set(zip(data.graph.src.tolist(), data.graph.dst.tolist(), strict=True))
    assert edges == {(0, 1), (1, 0), (2, 3), (3, 2), (6, 7), (7, 6)}
    assert data.tables is not None
    assert data.tables.ids.to_pylist() == ["m1", "m2", "m3", "m4", "m5"]
    assert data.tables.id_column == "graph"
    assert "5 graphs of" in data.tables.report.notes[0]


def test_features_are_fitted_on_nodes_of_training_graphs(tmp_path: Path) -> None:
    data = read(write(tmp_path / "m"))
    assert data.tables is not None
    names = [name for column in data.tables.stored.nodes for name in column.feature_names]
    assert [name for name in names if name.startswith("atom")] == ["atom = C", "atom = N"]  # O is in no training graph
    assert data.x is not None
    charges = torch.tensor([2.0, 0.5, 1.0, 3.0])
    mean, deviation = charges.mean(), charges.std(correction=0)
    torch.testing.assert_close(data.x[:4, names.index("charge")], (charges - mean) / deviation)


def test_the_file_that_is_written_reads_the_same(tmp_path: Path) -> None:
    data = read(write(tmp_path / "m"))
    assert data.tables is not None
    (tmp_path / "m" / "graph.yaml").write_text(data.tables.stored.spec.to_yaml())
    again = read(tmp_path / "m")
    assert again.tables is not None
    assert again.tables.stored.as_dict() == data.tables.stored.as_dict()
    assert torch.equal(again.graph.src, data.graph.src)
    spec = yaml.safe_load((tmp_path / "m" / "graph.yaml").read_text())
    assert spec["graphs"] == {"file": "graphs.csv", "columns": {"graph": "id", "label": "label", "split": "split"}}


@pytest.mark.parametrize("graphs", [None, [["graph"], ["m9"], ["m8"]]], ids=["nodes alone", "ids alone"])
def test_new_graphs_need_no_labels(tmp_path: Path, graphs: Rows | None) -> None:
    data = read(write(tmp_path / "m"))
    assert data.tables is not None
    stored = StoredTables.from_dict(data.tables.stored.as_dict(), "here")
    new = write(
        tmp_path / "new", [NODES[0], ["x", "m9", "C", 1.0], ["y", "m8", "N", 2.0], ["z", "m9", "C", 0.0]], EDGES[:1], graphs
    )
    found = read_like(find_tables(new), stored)
    assert found.tables is not None
    assert found.tables.ids.to_pylist() == ["m9", "m8"]
    assert found.graphs is not None
    assert found.graphs.graph_of_node.tolist() == [0, 0, 1]
    assert found.y.tolist() == [-1, -1]


def test_several_numbers_and_another_label(tmp_path: Path) -> None:
    graphs = [
        ["mol", "weight", "energy"],
        ["m1", 1.5, -2.25],
        ["m2", 2.5, 1e3],
        ["m3", "", 0.5],
        ["m4", 3.0, 2.0],
        ["m5", 1.0, 3.0],
    ]
    data = read(write(tmp_path / "m", graphs=graphs), labels=("weight", "energy"))
    assert (data.task, data.task_names) == ("regression", ("weight", "energy"))
    assert data.y[:2].tolist() == [[1.5, -2.25], [2.5, 1000.0]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"edges": [*EDGES, ["a", "b"]]}, r"edges.csv, row 4: it joins nodes of two graphs"),
        ({"graphs": GRAPHS[:-1]}, "nodes.csv, row 7: the graph 'm5' is not among the 4 graphs.*add the graph"),
        ({"graphs": [*GRAPHS, ["m6", "safe", ""]]}, "graphs.csv, row 6: the graph 'm6' has no nodes"),
        ({"graphs": [*GRAPHS, ["m1", "safe", ""]]}, "graphs.csv, row 6: the id 'm1' occurs before"),
        ({"graphs": [["graph", "size"], *[[f"m{i}", i] for i in range(1, 6)]]}, "graphs.csv: no column is the label"),
        ({"graphs": [["name", "label"], ["x", "a"], ["y", "b"]]}, "no column of the graphs .* holds what the nodes name"),
    ],
)
def test_rows_that_do_not_fit_are_named(tmp_path: Path, changes: dict[str, Rows], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(write(tmp_path / "m", **changes))


def test_rows_that_do_not_fit_are_dropped_on_request(tmp_path: Path) -> None:
    changes = {"edges": [*EDGES, ["a", "b"]], "graphs": [*GRAPHS[:-1], ["m6", "safe", ""]]}
    data = read(write(tmp_path / "m", **changes), on_bad_rows="drop")
    assert data.tables is not None
    assert data.tables.report.dropped == {
        "nodes: unknown graph": 2,
        "edges: unknown node": 1,
        "edges: ends in two graphs": 1,
        "graphs: no node": 1,
    }
    assert data.num_rows == 4


def test_without_a_column_of_graphs_the_table_is_not_used(tmp_path: Path) -> None:
    nodes = [["id", "label"], *[[row[0], row[2]] for row in NODES[1:]]]
    data = read(write(tmp_path / "m", nodes))
    assert data.graphs is None
    assert data.row == "node"


def test_labels_of_graphs_cannot_be_split_by_time_of_nodes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"split_time=\.\.\. orders nodes, and these tables have labels of graphs"):
        read(write(tmp_path / "m"), split_time="charge")
