"""Records: their keys and values."""

from __future__ import annotations

import json

import pytest

from revgnn.experiments import all_tables, get_table
from revgnn.experiments.measure.rows import measured_row_record
from revgnn.experiments.measure.step import StepMemory
from revgnn.experiments.report.records import list_tables, row_record, table_record

PUBLISHED = {"parameters", "memory_gb", "out_of_memory_gb", "score", "score_std", "train_days"}
ROW = {"name", "preset", "family", "tied", "layers", "channels", "groups", "views", "parts", "teacher", "parameters", "published"}

MEMORY = StepMemory(
    peak_bytes=104_500_000,
    batch_bytes=45_000_000,
    state_bytes=17_484_960,
    stored_bytes=None,
    gradient="reversible",
    parameters=1_457_080,
    data="generated",
    num_nodes=13_253,
    num_edges=791_225,
    device="cpu",
)


@pytest.mark.parametrize("table", all_tables(), ids=lambda table: table.name)
def test_keys(table) -> None:
    record = json.loads(json.dumps(table_record(table, [row_record(row) for row in table.rows])))
    assert record.keys() == {"table", "title", "source", "metric", "notes", "rows"}
    for row in record["rows"]:
        assert row.keys() == ROW
        assert row["published"].keys() == PUBLISHED


def test_a_measured_row() -> None:
    record = json.loads(json.dumps(measured_row_record(get_table("table2").row("RevGNN-64"), MEMORY)))
    assert record.keys() == ROW | {"memory_gb", "times_less", "stored_gb", "memory"}
    assert (record["memory_gb"], record["times_less"]) == (0.1045, 20.0)
    assert record["memory"] == MEMORY.as_dict()
    assert measured_row_record(get_table("table2").row("ResGNN-224"), MEMORY)["times_less"] is None


def test_the_list() -> None:
    sizes = {entry["name"]: entry["rows"] for entry in list_tables()}
    assert (sizes["table1"], sizes["table3"], sizes["correlation"]) == (12, 9, 0)
