"""Tables that cannot be used are refused in one line, with the row; nothing in them is executed, and memory stays bounded."""

from __future__ import annotations

import gzip
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from revgnn.data import NodeDataset, TableOptions
from revgnn.data.tables.dataset import read_tables
from revgnn.data.tables.files import find_tables
from revgnn.data.tables.reading import read_table
from tests.data.tables.conftest import EDGES, NODES, Folder, Rows, write

REFUSE, DROP = (TableOptions(labels=("plan",), on_bad_rows=choice) for choice in ("refuse", "drop"))


def read(folder: Path, options: TableOptions = REFUSE) -> NodeDataset:
    return read_tables(find_tables(folder), options)


def refuse(folder: Path, options: TableOptions = REFUSE) -> str:
    with pytest.raises(ValueError, match=r".") as error:
        read(folder, options)
    text = str(error.value)
    assert len(text) < 600
    assert "\n" not in text
    return text


def dropped(folder: Path) -> dict[str, int]:
    tables = read(folder, DROP).tables
    assert tables is not None
    return tables.report.dropped


def with_rows(rows: Rows, *more: dict[str, Any]) -> Rows:
    return {name: [*values, *(row[name] for row in more)] for name, values in rows.items()}


def node(**changes: Any) -> dict[str, Any]:
    return {"name": "ida", "age": 30, "city": "Bern", "plan": "gold", "split": "train"} | changes


# --- rows ---------------------------------------------------------------------------------------------------------------


def test_a_doubled_id(folder: Folder) -> None:
    path = folder(with_rows(NODES, node(name="bob"), node(name="bob")))
    assert "nodes.csv, row 9: the id 'bob' occurs before (2 such rows)" in refuse(path)
    assert dropped(path) == {"nodes: doubled id": 2}


def test_a_missing_id(folder: Folder) -> None:
    path = folder(with_rows(NODES, node(name="")))
    assert "nodes.csv, row 9: the id (name) is empty" in refuse(path)
    assert dropped(path) == {"nodes: no id": 1}


def test_an_edge_to_an_unknown_node(folder: Folder) -> None:
    path = folder(edges=with_rows(EDGES, {"from": "ann", "to": "zoe", "amount": 1}, {"from": "xeno", "to": "ann", "amount": 1}))
    text = refuse(path)
    assert "edges.csv, row 9: the source 'xeno' is not among the 8 nodes" in text
    assert "--on-bad-rows drop" in text
    assert dropped(path) == {"edges: unknown node": 2}


def test_an_edge_without_an_end(folder: Folder) -> None:
    path = folder(edges=with_rows(EDGES, {"from": "ann", "to": None, "amount": 1}))
    assert "edges.csv, row 8: the target (to) is empty" in refuse(path)
    assert dropped(path) == {"edges: no target": 1}


def test_edges_of_dropped_nodes_are_dropped(folder: Folder) -> None:
    path = folder(
        {**with_rows(NODES, node()), "age": ["31", "25", "", "47", "38", "29", "51", "44", "many"]},
        with_rows(EDGES, {"from": "ann", "to": "ida", "amount": 1}),
    )
    options = TableOptions(labels=("plan",), kinds={"age": "numeric"}, on_bad_rows="drop")
    tables = read(path, options).tables
    assert tables is not None
    assert tables.report.dropped == {"nodes: age is not a finite number": 1, "edges: unknown node": 1}


@pytest.mark.parametrize("value", ["many", "1e999", "inf", "-inf", "1,5", "=1+1"])
def test_mixed_types(folder: Folder, value: str) -> None:
    nodes = {name: [str(v) if v is not None else "" for v in values] for name, values in NODES.items()}
    nodes = {name: values * 4 for name, values in nodes.items()}
    nodes["name"] = [f"{name}{i}" for i, name in enumerate(nodes["name"])]
    nodes["age"][5] = value
    path = folder(nodes, {"from": ["ann0"], "to": ["bob1"], "amount": [1.0]})
    text = refuse(path)
    assert f"nodes.csv, row 6: age is {value!r}, which is not a finite number" in text
    assert "--kind age=categorical" in text
    assert dropped(path) == {"nodes: age is not a finite number": 1}
    kinds = TableOptions(labels=("plan",), kinds={"age": "categorical"})
    assert read(path, kinds).num_nodes == 32


@pytest.mark.parametrize("row", ["ida,30,Bern,gold", "ida,30,Bern,gold,train,more", "ida", '"ida,30,Bern,gold,train'])
def test_ragged_rows(folder: Folder, row: str) -> None:
    path = folder()
    with open(path / "nodes.csv", "a") as file:
        file.write(f"{row}\n")
    text = refuse(path)
    assert "nodes.csv, row 9: " in text
    assert "there are 5 columns" in text or "a quote is opened and never closed" in text
    if "columns" in text:
        assert dropped(path) == {"nodes: cells do not fit the columns": 1}


def test_a_quote_that_is_never_closed(tmp_path: Path) -> None:
    (tmp_path / "nodes.csv").write_text('name,plan\nann,gold\nbob,"basic\ncy,gold\ndee,gold\n')
    (tmp_path / "edges.csv").write_text("from,to\nann,bob\n")
    assert "nodes.csv, row 2: a quote is opened and never closed" in refuse(tmp_path)
    (tmp_path / "nodes.csv").write_text('name,plan\nann,gold\nbob,basic\ncy,"gold\nand more"\n')
    assert read_table(tmp_path / "nodes.csv")[0].column("plan").to_pylist()[2] == "gold\nand more"


def test_lines_that_are_not_json(folder: Folder) -> None:
    path = folder(ending=".jsonl")
    with open(path / "nodes.jsonl", "a") as file:
        file.write('{"name": \n{"name": 17, "age": 1}\n[1]\n')
    assert "nodes.jsonl, row 9: it is not JSON" in refuse(path)
    assert dropped(path) == {"nodes: cells do not fit the columns": 3}


def test_a_json_value_of_another_type(folder: Folder) -> None:
    path = folder(ending=".jsonl")
    with open(path / "nodes.jsonl", "a") as file:
        file.write('{"name": 17, "age": 1}\n')
    assert "nodes.jsonl, row 9: 'name' is a number, but text before" in refuse(path)


# --- files --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty|is empty"),
        (b"\n\n", "is empty"),
        (b"\xff\xfen\x00a\x00", "is UTF-16; save it as UTF-8"),
        (b"name,plan\nan\xe9,a\n", "is not UTF-8"),
        (b"name,name,plan\n1,2,3\n", "several columns named 'name'"),
        (b"name,plan\n", "has no rows"),
        (pickle.dumps({"name": [1]}), "."),
        (b"\x00" * 1000, "."),
        (b"name,plan\n" + b"x" * (2 << 20) + b",a\n", "row 1: a cell is longer than 1 MB"),
        (b"name,plan\n" + b"x" * (40 << 20) + b",a\n", "a row is longer than 16 MB"),
        (b'name,plan\n"' + b"x,a\n" * (5 << 20), "row 1: 1 cells, but there are 2 columns|a row is longer"),
        (b"name," + b"y" * (2 << 20), "the first line, which names the columns, is longer than 1 MB"),
    ],
)
def test_csv_files_that_are_none(folder: Folder, content: bytes, message: str) -> None:
    path = folder()
    (path / "nodes.csv").write_bytes(content)
    text = refuse(path)
    assert "nodes.csv" in text
    assert any(part in text for part in message.split("|"))


@pytest.mark.parametrize("ending", [".parquet", ".jsonl", ".csv.gz", ".jsonl.gz"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"PAR1garbagePAR1", pickle.dumps([1]), gzip.compress(b"a,b", mtime=0)[:-4]])
def test_files_of_another_kind(folder: Folder, ending: str, content: bytes) -> None:
    path = folder(ending=ending)
    (path / f"nodes{ending}").write_bytes(content)
    assert f"nodes{ending}" in refuse(path)


def test_a_graph_without_edges_is_legal(folder: Folder) -> None:
    path = folder()
    (path / "edges.csv").write_text("from,to\n")
    assert read(path).graph.num_edges == 0


def test_a_folder_with_one_table_or_too_many(folder: Folder, tmp_path: Path) -> None:
    path = folder()
    write(path / "nodes.parquet", NODES)
    assert "holds nodes.csv and nodes.parquet; keep one" in refuse(path)
    (path / "nodes.parquet").unlink()
    (path / "edges.csv").unlink()
    assert "has no table of edges" in refuse(path)


# --- content ------------------------------------------------------------------------------------------------------------


FORMULAS = [
    "=cmd|'/C touch executed'!A0",
    "+1+1",
    "@SUM(A1)",
    "-2+3",
    "{{7*7}}",
    "$(touch executed)",
    "`touch executed`",
    "!!python/x",
]


@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_formulas_are_text(folder: Folder, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    edges = {**EDGES, "from": FORMULAS[:7], "to": FORMULAS[1:]}
    data = read(folder({**NODES, "name": FORMULAS, "city": FORMULAS}, edges, ending))
    assert data.tables is not None
    assert data.tables.ids.to_pylist() == FORMULAS
    assert not (tmp_path / "executed").exists()


def test_control_codes_do_not_reach_a_message(folder: Folder) -> None:
    path = folder(with_rows(NODES, node(name="\x1b[31mbob"), node(name="\x1b[31mbob")))
    assert "\x1b" not in refuse(path)


def test_huge_cells_are_cut_in_messages(folder: Folder) -> None:
    long = node(name="x" * 100_000)
    assert "row 10: the id 'xxx" in refuse(folder(with_rows(NODES, long, long)))


@pytest.mark.parametrize("label", ["=1", "\x1b[31m", "x" * 10_000])
def test_unknown_parts_of_a_split(folder: Folder, label: str) -> None:
    options = TableOptions(labels=("plan",), kinds={"split": "split"})
    assert "row 9: the split is" in refuse(folder(with_rows(NODES, node(split=label))), options)


_MEMORY = """
import resource, sys
from pathlib import Path
from revgnn.data import TableOptions
from revgnn.data.tables.dataset import read_tables
from revgnn.data.tables.files import find_tables
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
kind = sys.argv[2]
data = read_tables(find_tables(Path(sys.argv[1])), TableOptions(labels=("plan",), kinds={"city": kind}))
print(data.in_channels, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize(("kind", "channels"), [("categorical", 101), pytest.param("ignored", 1, marks=pytest.mark.slow)])
def test_any_number_of_categories_needs_bounded_memory(tmp_path: Path, kind: str, channels: int) -> None:
    """300,000 categories in 300,000 rows would be 360 GB of inputs."""
    n = 300_000
    with open(tmp_path / "nodes.csv", "w") as file:
        file.write("id,city,plan\n")
        file.writelines(f"{i},c{i:x},{'ab'[i % 2]}\n" for i in range(n))
    (tmp_path / "edges.csv").write_text("source,target\n0,1\n")
    words = [sys.executable, "-c", _MEMORY, str(tmp_path), kind]
    result = subprocess.run(words, capture_output=True, text=True, check=True)
    in_channels, megabytes = map(int, result.stdout.split())
    assert in_channels == channels
    assert megabytes < 700, "120 MB are the inputs, as much again is their copy"
