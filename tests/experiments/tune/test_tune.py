"""`revgnn tune`: halving by stopping and resuming, exact and resumable; candidates that are all runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from revgnn.cli.app import app
from revgnn.experiments import all_presets
from revgnn.experiments.tune.halving import seconds_of, tune
from revgnn.experiments.tune.record import NAME, Record
from revgnn.experiments.tune.space import Candidate, candidates
from revgnn.train import RunConfig, train
from revgnn.train.config.errors import ConfigError
from revgnn.train.run.events import Stepped
from revgnn.train.run.folder import RunFolder, RunFolderError
from revgnn.train.run.tensor_file import read_tensors

GRAPH = "synthetic:nodes=240,degree=8,tasks=3"
RUN = RunConfig.parse(
    {"data": {"name": GRAPH}, "model": {"depth": 2, "channels": 8}, "optim": {"schedule": "cosine"}, "epochs": 9, "device": "cpu"}
)
FOUR = tuple(Candidate(f"depth {depth}", {"model.depth": depth}) for depth in (2, 3, 1, 4))


def comparable(record: Record) -> dict[str, Any]:
    return {**asdict(record), "seconds": None}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Record]:
    out = tmp_path_factory.mktemp("tune") / "a"
    return out, tune(RUN, FOUR, out, budget=1e6)


def test_a_third_goes_on(searched: tuple[Path, Record]) -> None:
    out, record = searched
    assert record.finished
    epochs = [trial.epochs for trial in record.trials]
    assert epochs[0] == 9  # the run that is tuned
    assert sorted(epochs[1:]) in ([1, 1, 3], [1, 1, 9], [1, 3, 9])
    assert record.metric == "rocauc"
    again = Record.read(out)
    assert again is not None
    assert comparable(again) == comparable(record)
    best = record.best()
    assert best is not None
    assert best.epochs == 9
    assert best.valid == max(t.valid for t in record.trials if t.epochs == 9)


def test_the_best_run_is_the_run_that_trains_by_itself(searched: tuple[Path, Record], tmp_path: Path) -> None:
    """Halving stops and resumes it, which changes no bit."""
    out, record = searched
    best = record.best()
    assert best is not None
    changes = next(candidate.changes for candidate in FOUR if candidate.name == best.name)
    result = train(RUN.replace(changes), tmp_path / "alone")
    kept, alone = (read_tensors(RunFolder(folder).best_file)[0] for folder in (out / "best", tmp_path / "alone"))
    assert kept.keys() == alone.keys()
    for name, weight in kept.items():
        assert torch.equal(weight, alone[name]), name
    assert best.valid == result.valid
    finished = RunFolder(out / "best").result()
    assert finished is not None
    assert finished["test"] == result.test


@pytest.mark.parametrize("steps", [pytest.param(1, marks=pytest.mark.slow), 5, pytest.param(8, marks=pytest.mark.slow)])
def test_a_search_that_is_stopped_goes_on(steps: int, searched: tuple[Path, Record], tmp_path: Path) -> None:
    taken: list[object] = []

    def count(event: object) -> None:
        if isinstance(event, Stepped):
            taken.append(event)

    stopped = tune(RUN, FOUR, tmp_path / "a", budget=1e6, hooks=[count], should_stop=lambda: len(taken) >= steps)
    assert not stopped.finished
    with pytest.raises(RunFolderError, match="already holds a search; go on with resume=True"):
        tune(RUN, FOUR, tmp_path / "a", budget=1e6)
    record = tune(RUN, FOUR, tmp_path / "a", budget=1e6, resume=True)
    assert comparable(record) == comparable(searched[1])
    assert comparable(tune(RUN, FOUR, tmp_path / "a", budget=1e6, resume=True)) == comparable(record)  # there is nothing left


def test_a_budget_that_is_spent(searched: tuple[Path, Record], tmp_path: Path) -> None:
    record = tune(RUN, FOUR, tmp_path / "a", budget=1e-9)
    assert not record.finished
    assert record.best() is None
    assert not (tmp_path / "a" / "best").exists()
    assert not list((tmp_path / "a" / "runs").glob("*"))


def test_a_candidate_that_diverges_is_left_out(tmp_path: Path) -> None:
    found = (Candidate("wild", {"optim.lr": 1e30, "optim.clip_norm": None}), FOUR[0], FOUR[1])
    record = tune(RUN.replace({"epochs": 4}), found, tmp_path / "a", budget=1e6)
    assert record.finished
    wild = record.trials[0]
    assert wild.error is not None
    assert "finite" in wild.error
    best = record.best()
    assert best is not None
    assert best.name != "wild"


def test_an_early_end_by_patience_counts_as_trained(tmp_path: Path) -> None:
    config = RUN.replace({"patience": 1, "optim.schedule": "constant", "optim.lr": 1e-12, "epochs": 9})
    record = tune(config, FOUR[:1], tmp_path / "a", budget=1e6)
    assert record.finished
    assert len(RunFolder(tmp_path / "a" / "best").metrics()) < 9


def test_folders_of_others(searched: tuple[Path, Record], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(RunFolderError, match="is not empty"):
        tune(RUN, FOUR, tmp_path, budget=1)
    out = searched[0]
    for config, found in ((RUN.replace({"seed": 1}), FOUR), (RUN, FOUR[:2])):
        with pytest.raises(RunFolderError, match="a search for another run"):
            tune(config, found, out, budget=1, resume=True)


@pytest.mark.parametrize("damage", ["", "3", "{}", '{"version": 1}', '{"version": 9, "config": "a", "trials": []}'])
def test_a_damaged_record(damage: str, tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(damage)
    with pytest.raises(RunFolderError, match=r"damaged|version 9"):
        tune(RUN, FOUR, tmp_path, budget=1, resume=True)


# --- candidates -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", all_presets(), ids=lambda preset: preset.name)
@pytest.mark.parametrize("has_edge_features", [False, True])
def test_candidates_are_distinct_runs(preset: Any, has_edge_features: bool) -> None:
    if preset.run.model.family == "equilibrium":
        pytest.skip("its depth is that of the pre-training")
    run = preset.run if preset.run.data is not None else preset.run.with_data("cora")
    found = candidates(run, has_edge_features=has_edge_features)
    digests = [run.replace(candidate.changes).digest for candidate in found]
    assert digests[0] == run.digest
    assert len(set(digests)) == len(digests) == len({candidate.name for candidate in found}) >= 6
    if has_edge_features:
        assert not any("data.self_loops" in candidate.changes for candidate in found)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("90s", 90), ("0.5h", 1800), (" 1m1s ", 61)]
)
def test_budgets(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "m", "-3m", "0s", "3 minutes", "30m2h"])
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(ConfigError, match="30m, 2h or 1h30m"):
        seconds_of(text)


# --- the command ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def revgnn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def test_the_command(revgnn: Callable[..., Any], tmp_path: Path) -> None:
    """A table, one test score, and a folder that other commands read."""
    small = ("--set", "model.depth=2", "--set", "model.channels=8", "--epochs", 1, "--device", "cpu")
    result = revgnn("tune", GRAPH, *small, "--budget", "5m")
    assert result.exit_code == 0, result.output
    for word in ("as chosen", "GCN", "valid rocauc", "4 layers", "convolution"):
        assert word in result.stdout
    (out,) = (tmp_path / "runs").iterdir()
    assert result.stdout.count("test ") == 1
    scores = [trial["valid"] for trial in json.loads((out / NAME).read_text())["trials"]]
    evaluated = revgnn("evaluate", out / "best", "--json")
    assert json.loads(evaluated.stdout)["valid"] == max(scores)
    assert revgnn("tune", GRAPH, *small, "--out", out, "--resume", "-q").exit_code == 0
    assert revgnn("tune", GRAPH, "--budget", "soon").exit_code == 2
