"""The benchmark of ablations: its record, its page, and changes relative to the run."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

import pytest

from benchmarks import ablation
from benchmarks.report.ablations import section
from revgnn.experiments.compose import compose
from revgnn.train import RunFolder


@pytest.mark.slow
def test_record_and_section(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ablation.main(["--quick", "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "ablation.json").read_text(encoding="utf-8"))
    assert [(cell["change"], cell["depth"]) for cell in record["cells"]] == [
        (change, depth) for change in ("as it is", "blocks start at zero") for depth in (2, 4)
    ]
    zero, base = record["cells"][3], record["cells"][1]
    folders = RunFolder.runs_of_sweep(tmp_path / "blocks-start-at-zero" / "4")
    scores = [result["test"] for folder in folders if (result := RunFolder(folder).result()) is not None]
    assert [run["test"] for run in zero["runs"]] == scores
    assert RunFolder(folders[0]).config().model.flat()["block_init"] == "zero"
    assert zero["gain"]["gain"] == pytest.approx(fmean(scores) - fmean(run["test"] for run in base["runs"]))
    assert zero["gain"]["pairs"] == 2
    assert zero["largest_state"] > 0
    out = capsys.readouterr().out
    assert f"| blocks start at zero: `model.block_init=zero` | 4 | {fmean(scores):.4f} ±" in out

    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("best.safetensors")}
    assert ablation.main(["--quick", "--out", str(tmp_path)]) == 0  # goes on: nothing is trained again
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("best.safetensors")}


def test_changes() -> None:
    run = compose("synthetic", preset="revgnn-7")
    tripled = ablation.changed(run, {"optim.lr": "x3"})
    assert tripled is not None
    assert tripled.optim.lr == pytest.approx(3 * run.optim.lr)
    assert ablation.changed(run, {"model.norm": run.model.norm}) is None  # no change
    assert ablation.changed(run, {}) == run
    args = ablation.parse(["--change", "wide: model.channels=128 optim.lr=x2"])
    assert ablation.chosen_changes(args) == {"as it is": {}, "wide": {"model.channels": "128", "optim.lr": "x2"}}
    with pytest.raises(SystemExit, match="no change 'nothing'"):
        ablation.chosen_changes(ablation.parse(["--only", "nothing"]))


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "ablation.json").write_text("{}")
    with pytest.raises(ValueError, match=r"ablation\.json cannot be read: it is damaged"):
        section(tmp_path / "ablation.json")
