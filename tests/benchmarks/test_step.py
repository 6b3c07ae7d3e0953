"""The benchmark prints no figure unless the results are right, and its record says what a reader needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import harness, step

SMALL = ["--nodes", "200", "--edges", "3000", "--channels", "16", "--depth", "2", "--repeats", "2"]


@pytest.fixture(autouse=True)
def _results_go_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def append(result: dict[str, object], name: str) -> Path:
        return harness_append(result, name, tmp_path)

    harness_append = harness.append_line
    monkeypatch.setattr(harness, "append_line", append)


@pytest.mark.parametrize("family", ["reversible", "residual"])
def test_both_networks_are_the_same_function(family: str):
    step.check_same_network(step.parse([*SMALL, "--family", family]))


def test_result_line(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    assert step.main([*SMALL, "--peers", "shared", "raw", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads((tmp_path / "step.jsonl").read_text())
    assert {"commit", "cpu", "threads", "packages", "seconds", "peak_bytes", "dtype", "nodes", "edges"} <= result.keys()
    assert [len(times) for times in result["seconds"].values()] == [2, 2, 2]
    for spread in result["speed_up"].values():
        assert 0 < spread["low"] <= spread["median"] <= spread["high"]
    edge_tensor = 3000 * 8 * 4  # E x C, float32: PyTorch Geometric holds several at a time
    assert result["peak_bytes"]["PyG, shared edges"] > 3 * edge_tensor


def test_wrong_results_print_no_figures(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    right = step.aggregate
    monkeypatch.setattr(step, "aggregate", lambda *args, **kwargs: right(*args, **kwargs) * (1 + 1e-5))
    assert step.main(SMALL) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "no figures, because the results are wrong: aggregate at" in printed.err
    assert not list(tmp_path.iterdir())


def test_a_different_network_is_found(monkeypatch: pytest.MonkeyPatch):
    right = step.our_logits
    monkeypatch.setattr(step, "our_logits", lambda model, batch: right(model, batch) * (1 + 1e-8))
    with pytest.raises(AssertionError, match="differs from PyTorch Geometric"):
        step.check_same_network(step.parse(SMALL))


def test_everybody_has_equal_turns():
    calls: list[str] = []
    seconds = harness.interleaved({name: lambda name=name: calls.append(name) for name in "abc"}, 3)
    assert calls == list("abcbcacab")
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3, "c": 3}


def test_ratios_are_taken_within_a_round():
    assert harness.ratios([10.0, 40.0, 30.0], [1.0, 2.0, 1.0]) == (20.0, 10.0, 30.0)
    many = harness.Spread.of([float(n) for n in range(1, 100)])
    assert many.median == 50
    assert (many.low, many.high) == (10, 90)


def test_memory_counts_a_call():
    x = torch.ones(1000)
    assert harness.memory({"one": lambda: x + 1, "two": lambda: x + 1 + 1}) == {"one": 4000, "two": 8000}


def test_lines_are_added(tmp_path: Path):
    harness.append_line({"a": 1}, "step")
    path = harness.append_line({"a": 2}, "step")
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"a": 1}, {"a": 2}]
    assert [p.name for p in tmp_path.iterdir()] == ["step.jsonl"]


def test_table_is_markdown():
    assert harness.table(["a", "long name"], [["1", 2], ["333", 4]]).splitlines() == [
        "| a   | long name |",
        "|-----|-----------|",
        "| 1   | 2         |",
        "| 333 | 4         |",
    ]
