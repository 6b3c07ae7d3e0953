"""Sweeps over splits and seeds."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev

import pytest

from revgnn.train.config import RunConfig
from revgnn.train.run.events import Event, Started, Stepped
from revgnn.train.run.folder import RunFolder, RunFolderError
from revgnn.train.run.loop import Interrupted, train
from revgnn.train.sweeps import choose_seeds, choose_splits, sweep


def test_a_sweep_is_interrupted_and_resumed(config: RunConfig, tmp_path: Path) -> None:
    config = config.override(["epochs=1"])
    started: list[Event] = []
    steps: list[Event] = []

    def watch(event: Event) -> None:
        started.extend([event] if isinstance(event, Started) else [])
        steps.extend([event] if isinstance(event, Stepped) else [])

    def run_sweep(*, resume: bool, stop_after: int = -1) -> dict:
        def should_stop() -> bool:
            return len(steps) == stop_after

        return sweep(config, tmp_path / "a", splits=[0], seeds=[0, 1, 2], resume=resume, hooks=[watch], should_stop=should_stop)

    with pytest.raises(Interrupted):
        run_sweep(resume=False, stop_after=config.parts + 1)
    summary = run_sweep(resume=True)
    assert len(started) == 4  # the first of three was finished and is skipped
    assert len(steps) == 3 * config.parts
    assert [line["folder"] for line in summary["results"]] == [f"split-0-seed-{seed}" for seed in range(3)]
    tests = [RunFolder(tmp_path / "a" / line["folder"]).result()["test"] for line in summary["results"]]
    assert len(set(tests)) == 3
    assert summary["test"] == {"mean": mean(tests), "std": stdev(tests)}
    assert (tmp_path / "a" / "summary.json").exists()


def test_all_folders_are_checked_before_the_first_run(config: RunConfig, tmp_path: Path) -> None:
    config = config.override(["epochs=1"])
    train(config.override(["seed=1"]), tmp_path / "split-0-seed-1")
    with pytest.raises(RunFolderError, match="already holds a run"):
        sweep(config, tmp_path, splits=[0], seeds=[0, 1])
    assert not (tmp_path / "split-0-seed-0").exists()


def test_choice_of_splits_and_seeds(config: RunConfig) -> None:
    assert choose_splits(config, None) == [0]
    assert choose_splits(config, "3") == [3]
    assert choose_splits(config, "species") == ["species"]
    assert choose_splits(config, "all") == [0]
    assert choose_seeds(config, None) == [0]
    assert choose_seeds(config, "3, 1") == [3, 1]
    for text in ("", "1,1", "a", "-1", "1;2"):
        with pytest.raises(ValueError, match="distinct whole numbers"):
            choose_seeds(config, text)


def test_all_splits_of_a_real_data_set(config: RunConfig, real_data: Path) -> None:
    tolokers = config.with_data("tolokers", str(real_data))
    assert choose_splits(tolokers, "all") == list(range(10))
