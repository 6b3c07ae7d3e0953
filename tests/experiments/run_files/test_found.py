"""Which runs a folder holds, what they are called, and what state they are in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from revgnn.data.tasks import LARGER_IS_BETTER
from revgnn.experiments.run_files.found import RunsReader, read_runs
from revgnn.experiments.run_files.reading import SMALLER_IS_BETTER, RunReader
from revgnn.train import RunConfig, train
from revgnn.train.config.errors import ConfigError
from revgnn.train.run.lock import owning

CONFIG = RunConfig.parse(
    {
        "data": {"name": "synthetic:nodes=200,degree=4,tasks=2"},
        "model": {"family": "reversible", "depth": 2, "channels": 8},
        "epochs": 2,
        "device": "cpu",
    }
)


def write_run(folder: Path, config: RunConfig = CONFIG, epochs: int = 0) -> Path:
    """Write the files of a run that was stopped after some epochs."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(config.to_yaml())
    lines = [{"epoch": n, "loss": 1 / n, "valid": 0.5, "test": 0.4, "seconds": 1.0, "peak_bytes": 10} for n in range(1, epochs + 1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_a_run_as_it_is_trained(tmp_path: Path) -> None:
    result = train(CONFIG, tmp_path / "a")
    (run,) = read_runs([tmp_path])
    assert (run.name, run.state, run.config, run.metric) == ("a", "finished", CONFIG, result.metric)
    assert (run.score("valid"), run.score("test"), run.peak_bytes) == (result.valid, result.test, result.peak_bytes)
    assert (run.best_epoch, len(run.epochs), run.seconds_left) == (result.best_epoch, 2, None)


def test_best_weights_decide_what_is_best(tmp_path: Path) -> None:
    """Which direction is better is not known before the end; the file of the best weights knows."""
    train(CONFIG, tmp_path / "a")
    (tmp_path / "a" / "result.json").unlink()
    lines = [{"epoch": n, "valid": score, "test": 0.0, "seconds": 1.0} for n, score in ((1, 0.1), (2, 0.9))]
    (tmp_path / "a" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = RunReader(tmp_path / "a", "a").read()
    assert run.best == next(line for line in lines if line["epoch"] == run.best_epoch)
    (tmp_path / "a" / "best.safetensors").write_bytes(b"damaged")
    assert RunReader(tmp_path / "a", "a").read().best == lines[1]


def test_what_a_run_is_scored_by_is_known_from_others(tmp_path: Path) -> None:
    write_run(tmp_path / "a", epochs=1)
    write_run(tmp_path / "b", CONFIG.replace({"data.name": "Cora"}), epochs=1)
    write_run(tmp_path / "c", epochs=1)
    (tmp_path / "a" / "result.json").write_text('{"metric": "rmse", "valid": 0.5}')
    assert [run.metric for run in read_runs([tmp_path])] == ["rmse", None, "rmse"]


def test_sweeps_and_folders_of_sweeps(tmp_path: Path) -> None:
    for name in ("b/split-0-seed-10", "b/split-0-seed-2", "a", "c/deep/er"):
        write_run(tmp_path / name)
    write_run(tmp_path / ".hidden" / "x")
    os.symlink(tmp_path / "a", tmp_path / "link")
    assert [run.name for run in read_runs([tmp_path])] == ["a", "b/split-0-seed-2", "b/split-0-seed-10", "c/deep/er"]
    assert [run.name for run in read_runs([tmp_path / "b", tmp_path / "b"])] == ["split-0-seed-2", "split-0-seed-10"]


def test_a_search(tmp_path: Path) -> None:
    for name in ("runs/00", "runs/01", "best"):
        write_run(tmp_path / "s" / name, epochs=1)
    trials = [
        {"name": "as chosen", "folder": "runs/00", "error": None},
        {"name": "4 layers", "folder": "runs/01", "error": "loss is not finite"},
        {"name": "2 layers", "folder": "runs/02", "error": None},
        {"name": "elsewhere", "folder": "../../etc", "error": None},
    ]
    (tmp_path / "s" / "tune.json").write_text(json.dumps({"metric": "mae", "trials": trials}))
    runs = read_runs([tmp_path / "s"])
    assert [(run.name, run.state) for run in runs] == [("as chosen", "stopped"), ("4 layers", "failed"), ("2 layers", "waiting")]
    assert runs[1].problem == "loss is not finite"
    assert not runs[0].larger_is_better


def test_a_run_is_running_while_a_process_owns_its_folder(tmp_path: Path) -> None:
    reader = RunsReader([write_run(tmp_path / "a", epochs=1)])
    with owning(tmp_path / "a"):
        (run,) = reader.read()
        assert run.state == "running"
        assert run.seconds_left == 1.0  # one more epoch
    assert reader.read()[0].state == "stopped"
    process = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True)
    owner = {"pid": int(process.stdout), "host": os.uname().nodename, "boot": None, "began": ""}
    (tmp_path / "a" / "run.lock").write_text(json.dumps(owner))  # as a killed process leaves it
    assert reader.read()[0].state == "stopped"


def test_runs_that_begin_later_are_found(tmp_path: Path) -> None:
    reader = RunsReader([tmp_path])
    assert reader.read() == []
    write_run(tmp_path / "a")
    assert [run.state for run in reader.read()] == ["stopped"]


def test_damaged_files_are_reported(tmp_path: Path) -> None:
    write_run(tmp_path / "a", epochs=1)
    (tmp_path / "a" / "config.yaml").write_text("model: {depth: many}")
    (tmp_path / "a" / "result.json").write_text("{")
    (tmp_path / "a" / "environment.json").write_text("[" * 100_000)
    (run,) = read_runs([tmp_path])
    assert run.config is None
    assert run.problem is not None
    assert "model.depth" in run.problem
    assert (run.state, run.result, run.environment, run.score("valid")) == ("stopped", None, None, 0.5)


def test_folders_without_runs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        read_runs([tmp_path / "a"])
    with pytest.raises(ConfigError, match="no run here"):
        read_runs([tmp_path])


def test_errors_among_the_scores() -> None:
    assert {name for name, larger in LARGER_IS_BETTER.items() if not larger} == set(SMALLER_IS_BETTER)


def test_reading_runs_imports_no_torch() -> None:
    code = (
        "import revgnn.experiments.run_files.found, revgnn.experiments.run_files.terminal, sys; assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
