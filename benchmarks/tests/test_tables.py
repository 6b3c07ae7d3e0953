"""The benchmark of tables: no figures for a wrong graph, and a record that says what a reader needs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import tables


@pytest.mark.parametrize("kind", ["csv", pytest.param("parquet", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_result_line(capsys: pytest.CaptureFixture[str], tmp_path: Path, kind: str) -> None:
    assert tables.main(["--quick", "--format", kind, "--results", str(tmp_path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert {"commit", "cpu", "threads", "nodes", "edges", "format", "file_bytes"} <= result.keys()
    assert len(result["seconds"]) == len(result["peak_bytes"]) == len(result["load_averages"]) == 2
    assert f"500 nodes and 4,000 edges as {kind}" in tables.show(result)


def test_a_wrong_graph_gives_no_figures(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write = tables.write_tables

    def move_an_edge(folder: Path, nodes: int, edges: int, kind: str) -> np.ndarray:
        ends = write(folder, nodes, edges, kind)
        ends[0, 0] = (ends[0, 0] + 1) % nodes
        return ends

    monkeypatch.setattr(tables, "write_tables", move_an_edge)
    assert tables.main(["--quick", "--results", str(tmp_path)]) == 1
    assert not list(tmp_path.rglob("*.jsonl"))
    assert "other edges" in "".join(capsys.readouterr())
