"""`--json`: one document on stdout, whose fields the documentation has; progress and errors on stderr."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from revgnn.cli.app import app
from revgnn.train.run.folder import RunFolder

GRAPH = "synthetic:nodes=240,degree=8,tasks=3"
SMALL = ["--preset", "revgnn-7", "--set", "model.depth=2", "--set", "model.channels=8", "--device", "cpu"]
PAGE = (Path(__file__).resolve().parents[2] / "docs" / "output.md").read_text(encoding="utf-8")


def document(*words: object, exit_code: int = 0) -> Any:
    """Return the one document on stdout, and check that progress is on stderr."""
    result = CliRunner().invoke(app, [*map(str, words), "--json"])
    assert result.exit_code == exit_code, result.output
    return json.loads(result.stdout)


def documented(section: str) -> set[str]:
    """Return the names in code of a section of docs/output.md, or of the row of a command."""
    row = next((line for line in PAGE.splitlines() if line.startswith(f"| `{section}` |")), None)
    text = row if row is not None else re.split(r"\n###? ", PAGE.split(f"\n### {section}\n")[1])[0]
    return set(re.findall(r"`(\w+)`", text))


def keys(value: Any) -> set[str]:
    """Return the keys of all objects in a document."""
    if isinstance(value, dict):
        return set(value) | {key for inner in value.values() for key in keys(inner)}
    return {key for inner in value for key in keys(inner)} if isinstance(value, list) else set()


def test_train(tmp_path: Path) -> None:
    words = ("train", GRAPH, *SMALL, "--epochs", 2, "--out", tmp_path / "a", "--compare-memory")
    found = document(*words)
    assert {**found, **(RunFolder(tmp_path / "a").result() or {})} == found
    assert found["folder"] == str(tmp_path / "a")
    assert found["one_step"]["stored_bytes"] > 0
    assert found["seconds"] > found["seconds_per_epoch"]
    assert keys(found) == documented("train") - {"results", "runs", "mean", "std", "cpu", "cuda", "patience", "null"} | {"epochs"}


def test_progress_goes_to_stderr(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["train", GRAPH, "--epochs", "1", "--device", "cpu", "--out", str(tmp_path / "a"), "--json"])
    assert json.loads(result.stdout)["preset"] == "auto"
    for part in ("homophily", "240 nodes", "epoch 1/1"):
        assert part in result.stderr
    again = ["train", "--resume", "--out", str(tmp_path / "a"), "--epochs", "1", "--json", "-q"]
    assert json.loads(CliRunner().invoke(app, again).stdout)["epochs"] == 1


def test_train_several(tmp_path: Path) -> None:
    found = document("train", GRAPH, *SMALL, "--epochs", 1, "--seeds", "0,1", "--out", tmp_path / "a")
    summary = json.loads((tmp_path / "a" / "summary.json").read_text())
    assert {**found, **summary} == found
    assert keys(found) <= documented("train")
    assert [run["seed"] for run in found["results"]] == [0, 1]


def test_tune(tmp_path: Path) -> None:
    words = ("tune", GRAPH, *SMALL, "--epochs", 1, "--out", tmp_path / "a")
    spent = document(*words, "--budget", "0.001s")
    assert (spent["finished"], spent["best"]) == (False, None)
    found = document(*words, "--budget", "60s", "--resume")
    assert found["finished"]
    assert keys(found) <= documented("tune")
    scores = [trial["valid"] for trial in found["candidates"]]
    assert found["best"]["valid"] == max(scores) == scores[0]
    best = RunFolder(found["best"]["folder"]).result()
    assert best is not None
    assert (best["valid"], best["test"], best["best_epoch"]) == tuple(found["best"][key] for key in ("valid", "test", "best_epoch"))


def test_evaluate_predict_correlate(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    document("train", GRAPH, *SMALL, "--epochs", 1, "--seeds", "0,1", "--out", folder, "-q")
    runs = [folder / f"split-0-seed-{seed}" for seed in (0, 1)]
    for words, section in (
        (("evaluate", runs[0]), "evaluate"),
        (("evaluate", folder), "evaluate"),
        (("predict", runs[0], "--out", tmp_path / "p.csv"), "predict"),
        (("correlate", *runs), "correlate"),
    ):
        found = document(*words)
        assert set(found) <= documented(section), words


@pytest.mark.parametrize(
    "words", [("presets",), ("presets", "auto"), ("presets", "revgnn-deep"), ("datasets",), ("config",), ("paper",)]
)
def test_lists(words: tuple[str, ...]) -> None:
    found = document(*words)
    if words[0] == "presets":
        section = "presets" if words[1:] == () else "presets NAME"
        assert set(found[0] if isinstance(found, list) else found) == documented(section) - {"presets"}
    assert found


@pytest.mark.parametrize(
    "words",
    [
        ("train", "nowhere.npz", "--out", "a"),
        ("train", GRAPH, *SMALL, "--epochs", "0", "--out", "a"),
        ("tune", "nowhere.npz", "--out", "a"),
        ("tune", GRAPH, "--budget", "soon"),
        ("evaluate", "nowhere"),
        ("presets", "nothing"),
    ],
    ids=" ".join,
)
def test_errors_leave_stdout_empty(words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, [*words, "--json"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1


def test_a_run_that_is_stopped_has_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from revgnn.cli.signals import StopRequest

    monkeypatch.setattr(StopRequest, "__call__", lambda self: True)  # asked to stop before the first step
    result = CliRunner().invoke(app, ["train", GRAPH, *SMALL, "--out", str(tmp_path / "a"), "--json"])
    assert (result.exit_code, result.stdout) == (130, "")
    assert "Go on with: revgnn" in result.stderr
