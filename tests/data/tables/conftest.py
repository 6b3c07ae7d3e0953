"""A small graph in two tables, in any format."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet
import pytest

Rows = dict[str, list[Any]]

NODES: Rows = {
    "name": ["ann", "bob", "cy", "dee", "eve", "fay", "gus", "hal"],
    "age": [31, 25, None, 47, 38, 29, 51, 44],
    "city": ["Bern", "Genf", "Bern", None, "Genf", "Bern", "Bern", "Genf"],
    "plan": ["gold", "basic", "gold", "basic", "gold", "basic", "gold", "basic"],
    "split": ["train", "train", "train", "train", "valid", "valid", "test", "test"],
}
EDGES: Rows = {
    "from": ["ann", "bob", "cy", "dee", "eve", "fay", "gus"],
    "to": ["bob", "cy", "dee", "eve", "fay", "gus", "hal"],
    "amount": [1.5, 2.5, 0.5, 4.0, 1.0, 2.0, 3.0],
}


def write(path: Path, rows: Rows) -> Path:
    """Write a table in the format of its ending."""
    table = pa.table(rows)
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        pa_parquet.write_table(table, path)
        return path
    if name.endswith(".jsonl"):
        text = "".join(json.dumps(row) + "\n" for row in table.to_pylist())
    else:
        sink = pa.BufferOutputStream()
        pa_csv.write_csv(table, sink, pa_csv.WriteOptions(delimiter="\t" if name.endswith(".tsv") else ","))
        text = sink.getvalue().to_pybytes().decode()
    if path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


Folder = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Function that writes the two tables, with other columns if given, and returns their folder."""

    def make(nodes: Rows | None = None, edges: Rows | None = None, ending: str = ".csv", name: str = "shop") -> Path:
        path = tmp_path / name
        path.mkdir(exist_ok=True)
        write(path / f"nodes{ending}", NODES if nodes is None else nodes)
        write(path / f"edges{ending}", EDGES if edges is None else edges)
        return path

    return make
