"""The benchmark of many processes: a record of each process of each job, in a table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.ranks import command


@pytest.mark.slow
def test_each_job_has_a_record_of_each_of_its_processes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--quick", "--mode", "graph", "--results", str(tmp_path)]) == 0
    (line,) = (tmp_path / "quick" / "ranks.jsonl").read_text().splitlines()
    jobs = json.loads(line)["graph"]["jobs"]
    assert [len(processes) for processes in jobs.values()] == [1, 2, 3]
    for processes in jobs.values():
        assert sum(process["own"] for process in processes) == 400
        assert sum(process["edges"] for process in processes) == 8000
        assert all(process["peak_bytes"] > 0 for process in processes)
    assert jobs["1 process, 1 thread"][0]["sent_bytes"] == 0
    assert "400 nodes, 8,000 edges" in capsys.readouterr().out


@pytest.mark.slow
def test_layers_have_a_record_of_each_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--quick", "--mode", "layers", "--results", str(tmp_path)]) == 0
    (line,) = (tmp_path / "quick" / "ranks.jsonl").read_text().splitlines()
    jobs = json.loads(line)["layers"]["jobs"]
    assert [len(processes) for processes in jobs.values()] == [1, 2, 2, 3]
    held = [max(process["held_bytes"] for process in processes) for processes in jobs.values()]
    assert held[0] > held[1] > held[3] > 0
    assert "4 layers of 16 channels, a graph of 300 nodes in 8 parts" in capsys.readouterr().out


@pytest.mark.slow
def test_weights_of_a_process_are_a_share(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--quick", "--mode", "weights", "--results", str(tmp_path)]) == 0
    (line,) = (tmp_path / "quick" / "ranks.jsonl").read_text().splitlines()
    one, two, three = json.loads(line)["weights"]["jobs"].values()
    assert one[0]["weight_bytes"] == 4 * one[0]["parameters"]
    for processes in (two, three):
        assert len({process["parameters"] for process in processes}) == 1
        assert all(process["weight_bytes"] < one[0]["weight_bytes"] for process in processes)
        assert all(process["moment_bytes"] == 2 * process["weight_bytes"] for process in processes)
    assert "4 layers of 16 channels, 2 segments" in capsys.readouterr().out


def test_nothing_is_timed_if_two_processes_differ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def differ() -> None:
        raise AssertionError("head.weight differs")

    monkeypatch.setattr(command, "check_equal", differ)
    assert command.main(["--quick", "--results", str(tmp_path)]) == 1
    assert not list(tmp_path.rglob("*.jsonl"))
