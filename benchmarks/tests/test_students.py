"""The benchmark of students: its record, and no figures for wrong scores."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

import pytest

from benchmarks import students
from revgnn.train import RunFolder


def test_result_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["--quick", "--results", str(tmp_path), "--out", str(tmp_path / "runs")]
    assert students.main([*words, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads((tmp_path / "quick" / "students.jsonl").read_text())
    scores: dict[str, list[float]] = {}
    for name, seconds in result["seconds"].items():
        results = [RunFolder(folder).result() for folder in RunFolder.runs_of_sweep(tmp_path / "runs" / name)]
        scores[name] = [each["test"] for each in results if each is not None]
        assert result["scores"][name]["mean"] == fmean(scores[name])
        assert len(seconds) == 2
    assert result["gain"]["gain"] == pytest.approx(fmean(scores["student"]) - fmean(scores["student alone"]))
    student = RunFolder(tmp_path / "runs" / "student" / "split-0-seed-1").config()
    assert student.model.depth == 2
    assert student.distillation is not None
    assert RunFolder(tmp_path / "runs" / "teacher" / "split-0-seed-1").config().model.depth == 4

    file = tmp_path / "runs" / "student alone" / "split-0-seed-0" / "result.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "test": 0.123}))
    assert students.main(words) == 1
    assert "recorded test 0.123" in capsys.readouterr().err
