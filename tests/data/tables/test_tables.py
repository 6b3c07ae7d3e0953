"""Two tables become a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import revgnn.data
from revgnn.data import NodeDataset, TableOptions
from revgnn.data.tables.dataset import read_like, read_tables
from revgnn.data.tables.files import ENDINGS, find_tables
from revgnn.data.tables.stored import StoredTables
from tests.data.tables.conftest import EDGES, NODES, Folder, Rows, write

PLAN = TableOptions(labels=("plan",))


def read(folder: Path, options: TableOptions = PLAN, **more: Any) -> NodeDataset:
    return read_tables(find_tables(folder), options, **more)


def changed(rows: Rows, **columns: list[Any]) -> Rows:
    return {**rows, **columns}


@pytest.mark.parametrize("ending", list(ENDINGS))
def test_every_format_gives_the_same_graph(folder: Folder, ending: str) -> None:
    data, expected = read(folder(ending=ending, name="a")), read(folder(name="b"))
    assert data.graph.src.tolist() == expected.graph.src.tolist()
    assert data.graph.edge_attr is not None
    assert expected.graph.edge_attr is not None
    torch.testing.assert_close(data.graph.edge_attr, expected.graph.edge_attr, rtol=0, atol=0)
    torch.testing.assert_close(data.x, expected.x, rtol=0, atol=0)
    assert data.y.tolist() == [1, 0] * 4
    assert [part.tolist() for part in (data.split.train, data.split.valid, data.split.test)] == [[0, 1, 2, 3], [4, 5], [6, 7]]
    assert data.tables is not None
    assert data.tables.ids.to_pylist() == NODES["name"]
    assert data.tables.classes == ("basic", "gold")


def test_the_features(folder: Folder) -> None:
    data = read(folder())
    assert data.tables is not None
    names = [name for column in data.tables.stored.nodes for name in column.feature_names]
    assert names == ["age", "age is missing", "city = Bern", "city = Genf", "city is missing"]
    assert data.x is not None
    ages = np.array([31, 25, 47])  # training nodes alone
    np.testing.assert_allclose(data.x[:, 0], [0 if age is None else (age - ages.mean()) / ages.std() for age in NODES["age"]], 1e-6)
    assert data.x[:, 1].tolist() == [0, 0, 1, 0, 0, 0, 0, 0]
    assert data.x[3].tolist()[2:] == [0, 0, 1]


def test_edges_are_used_in_both_directions_unless_directed(folder: Folder) -> None:
    path = folder()
    assert read(path).graph.num_edges == 14
    assert read(path, undirected=False).graph.num_edges == 7
    text = path / "graph.yaml"
    text.write_text(read(path).tables.stored.spec.to_yaml().replace("directed: false", "directed: true"))  # type: ignore[union-attr]
    assert read(path).graph.num_edges == 7


def test_edge_features_are_fitted_on_edges_of_training_nodes(folder: Folder) -> None:
    before = read(folder(name="a")).tables
    after = read(folder(edges=changed(EDGES, amount=[1.5, 2.5, 0.5, 4.0, 1.0, 2.0, 999.0]), name="b")).tables
    assert before is not None
    assert after is not None
    assert before.stored.edges == after.stored.edges  # gus and hal are test nodes


def test_edge_columns_of_every_kind(folder: Folder) -> None:
    edges = changed(
        EDGES,
        kind=["a", "b", "a", "b", "a", "b", "a"],
        paid=["yes", "no", "yes", "no", "", "no", "yes"],
        day=[f"2024-01-0{i + 1}" for i in range(7)],
    )
    data = read(folder(edges=edges), undirected=False)
    assert data.tables is not None
    assert [column.name for column in data.tables.stored.edges] == ["amount", "kind", "paid", "day"]
    # Two categories; the missing payment is not at a training node, so that there is no input for it.
    assert data.num_edge_features == 5


def test_without_feature_columns_the_degree_is_the_feature(folder: Folder) -> None:
    nodes = {name: NODES[name] for name in ("name", "plan", "split")}
    data = read(folder(nodes, {name: EDGES[name] for name in ("from", "to")}))
    assert data.x is not None
    torch.testing.assert_close(data.x[:, 0], data.graph.in_degree.float().log1p())


@pytest.mark.parametrize(
    "ids",
    [
        ["1", "02", "3", "-4", "5e3", "NA", "null", "=1+1"],
        [1, 2, 3, -4, 2**62, 6, 7, 8],
        ["ü ü", "a,b", 'q"q', "line\nbreak", " x ", "x", "日本", "\t"],
    ],
)
@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_ids_are_kept_as_they_came(folder: Folder, ids: list[Any], ending: str) -> None:
    edges = changed(EDGES, **{"from": ids[:7], "to": ids[1:]})
    data = read(folder(changed(NODES, name=ids), edges, ending=ending), undirected=False)
    assert data.tables is not None
    assert data.tables.ids.to_pylist() == ([str(i) for i in ids] if ending == ".csv" else ids)
    assert data.graph.num_edges == 7


def test_ids_of_other_types_in_the_two_tables(tmp_path: Path) -> None:
    write(tmp_path / "nodes.parquet", changed(NODES, name=list(range(8))))
    write(tmp_path / "edges.csv", changed(EDGES, **{"from": list(range(7)), "to": list(range(1, 8))}))
    assert read(tmp_path).graph.num_edges == 14


def test_the_order_of_columns_does_not_matter(folder: Folder) -> None:
    a = read(folder(name="a"))
    b = read(folder(dict(reversed(NODES.items())), dict(reversed(EDGES.items())), name="b"))
    assert a.graph.src.tolist() == b.graph.src.tolist()
    assert a.y.tolist() == b.y.tolist()


def test_named_files(tmp_path: Path) -> None:
    nodes, edges = write(tmp_path / "people.csv", NODES), write(tmp_path / "payments.tsv", EDGES)
    data = revgnn.data.load(str(nodes), tables=TableOptions(edges=str(edges), labels=("plan",)))
    assert data.num_nodes == 8


def test_load(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder(changed(NODES, label=NODES["plan"]))
    data = revgnn.data.load(f"{path}/")
    assert data.tables is not None
    assert data.name == "shop"
    assert not (path / "graph.yaml").exists()  # written by runs, not by reading
    monkeypatch.chdir(path.parent)
    assert revgnn.data.load("shop").num_nodes == 8
    assert revgnn.data.load("shop", path.parent).num_nodes == 8


def test_another_split_needs_other_encodings(folder: Folder) -> None:
    path = folder({name: values for name, values in NODES.items() if name != "split"})
    first, second = (revgnn.data.load(str(path), split=split, tables=PLAN) for split in (0, 1))
    assert len(first.splits) == 10
    assert second.split_index == 1
    with pytest.raises(ValueError, match="load the tables again with split=1"):
        first.with_split(1)


def test_ratios_replace_a_column_of_splits(folder: Folder) -> None:
    data = read(folder(), TableOptions(labels=("plan",), split_ratios=(0.5, 0.25, 0.25)))
    assert [len(part) for part in (data.split.train, data.split.valid, data.split.test)] == [4, 2, 2]
    assert data.tables is not None
    assert data.tables.stored.spec.nodes["split"].name == "ignored"


def test_a_split_by_time(folder: Folder) -> None:
    days = [f"2024-01-{day:02}" for day in (8, 7, 6, 5, 4, 3, 2, 1)]
    nodes = {"name": NODES["name"], "joined": days, "plan": NODES["plan"]}
    data = read(folder(nodes), TableOptions(labels=("plan",), split_ratios=(0.5, 0.25, 0.25), split_time="joined"))
    assert sorted(data.split.train.tolist()) == [4, 5, 6, 7]
    assert sorted(data.split.test.tolist()) == [0, 1]


# --- reading as a run did -----------------------------------------------------------------------------------------------


def stored_of(data: NodeDataset) -> StoredTables:
    assert data.tables is not None
    return StoredTables.from_dict(data.tables.stored.as_dict(), "tables.json")


def test_new_tables_are_read_as_those_of_the_run(folder: Folder) -> None:
    path = folder()
    data = read(path)
    again = read_like(find_tables(path), stored_of(data))
    torch.testing.assert_close(again.x, data.x, rtol=0, atol=0)
    assert again.y.tolist() == data.y.tolist()
    assert again.split.test.tolist() == data.split.test.tolist()


def test_new_tables_need_no_labels_and_no_split(folder: Folder) -> None:
    stored = stored_of(read(folder()))
    nodes = {"city": ["Basel", "Bern"], "age": [33, 44], "name": ["x", "y"]}
    new = read_like(find_tables(folder(nodes, {"to": ["x"], "from": ["y"], "amount": [1.0]}, name="new")), stored)
    assert new.num_nodes == 2
    assert not new.trainable
    assert new.y.tolist() == [-1, -1]
    assert new.tables is not None
    assert new.tables.unknown == {"nodes: city": 1}
    assert any("not told apart in training" in note for note in new.tables.report.notes)


def test_all_nodes_with_a_label_are_test_nodes_without_a_split(folder: Folder) -> None:
    stored = stored_of(read(folder()))
    nodes = {name: values for name, values in NODES.items() if name != "split"}
    assert read_like(find_tables(folder(nodes, name="new")), stored).split.test.tolist() == list(range(8))


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ({name: values for name, values in NODES.items() if name != "age"}, "has no column 'age', which was numeric"),
        (changed(NODES, age=["x"] * 8), "row 1: age is 'x', which is not a finite number"),
        (changed(NODES, plan=["gold"] * 7 + ["iron"]), "row 8: the label is 'iron'; classes are basic, gold"),
    ],
)
def test_new_tables_that_do_not_fit(folder: Folder, nodes: Rows, message: str) -> None:
    stored = stored_of(read(folder()))
    with pytest.raises(ValueError, match=message):
        read_like(find_tables(folder(nodes, name="new")), stored)


def test_damaged_stored_tables() -> None:
    with pytest.raises(ValueError, match=r"tables\.json has version None"):
        StoredTables.from_dict({}, "tables.json")
    with pytest.raises(ValueError, match=r"tables\.json is damaged"):
        StoredTables.from_dict({"version": 1}, "tables.json")
