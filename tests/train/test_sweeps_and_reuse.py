"""Several runs summed up, and what can be done with a trained one."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest
import torch

from revgnn.train.config import RunConfig
from revgnn.train.inference.evaluate import evaluate_run
from revgnn.train.inference.predict import predict_run
from revgnn.train.run.events import Event, Started, Stepped
from revgnn.train.run.folder import RunFolder, RunFolderError
from revgnn.train.run.footprint import compare_footprint
from revgnn.train.run.loop import Interrupted, train
from revgnn.train.run.session import prepare
from revgnn.train.sweeps import choose_seeds, choose_splits, sweep

# --- sweeps -------------------------------------------------------------------------------------------------------------


def test_a_sweep_is_interrupted_resumed_and_summed_up(config: RunConfig, tmp_path: Path) -> None:
    config = config.override(["epochs=1"])
    started: list[Event] = []
    steps: list[Event] = []

    def watch(event: Event) -> None:
        started.extend([event] if isinstance(event, Started) else [])
        steps.extend([event] if isinstance(event, Stepped) else [])

    def go(*, resume: bool, stop_after: int = -1) -> dict:
        stop = lambda: len(steps) == stop_after  # noqa: E731
        return sweep(config, tmp_path / "a", splits=[0], seeds=[0, 1, 2], resume=resume, hooks=[watch], should_stop=stop)

    with pytest.raises(Interrupted):
        go(resume=False, stop_after=config.parts + 1)
    summary = go(resume=True)
    assert len(started) == 4  # the first of three was finished and is not begun again
    assert len(steps) == 3 * config.parts
    assert [line["folder"] for line in summary["results"]] == [f"split-0-seed-{seed}" for seed in range(3)]
    tests = [RunFolder(tmp_path / "a" / line["folder"]).result()["test"] for line in summary["results"]]
    assert len(set(tests)) == 3
    assert summary["test"] == {"mean": mean(tests), "std": stdev(tests)}
    assert (tmp_path / "a" / "summary.json").exists()


def test_all_folders_are_looked_at_before_the_first_run(config: RunConfig, tmp_path: Path) -> None:
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


# --- trained runs -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "a"
    train(config.override(["epochs=2"]), folder)
    return folder


def test_views_and_parts_may_be_others(run: Path) -> None:
    own, whole, many = evaluate_run(run), evaluate_run(run, parts=1), evaluate_run(run, views=5, parts=3)
    assert (own["views"], own["parts"]) == (2, 2)
    assert (many["views"], many["parts"]) == (5, 3)
    assert len({own["test"], whole["test"], many["test"]}) == 3
    with pytest.raises(ValueError, match=r"evaluation\.views"):
        evaluate_run(run, views=0)


def test_predictions(run: Path, config: RunConfig, tmp_path: Path) -> None:
    predict_run(run, tmp_path / "p.npz")
    split = prepare(config).dataset.split
    with np.load(tmp_path / "p.npz", allow_pickle=False) as file:
        logits = torch.from_numpy(file["logits"])
        assert logits.shape == (240, 3)
        assert logits.dtype == torch.float32
        assert torch.equal(torch.from_numpy(file["probabilities"]), logits.sigmoid())
        assert file["nodes"].tolist() == list(range(240))
        for name in ("train", "valid", "test"):
            assert np.flatnonzero(file["splits"] == name).tolist() == sorted(getattr(split, name).tolist())
    assert [p.name for p in tmp_path.iterdir()] == ["p.npz"]


def test_predictions_into_a_folder_that_is_not_there(run: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="create it"):
        predict_run(run, tmp_path / "no" / "p.npz")


# --- memory -------------------------------------------------------------------------------------------------------------


def test_storing_every_layer_needs_memory_that_grows_with_depth(config: RunConfig) -> None:
    needs = [compare_footprint(config.override([f"model.depth={depth}", "parts=1"])) for depth in (16, 48)]
    assert all(need.stored_is_measured and need.gradient == "reversible" for need in needs)
    assert needs[1].stored_bytes > 2.5 * needs[0].stored_bytes
    assert needs[1].peak_bytes < 1.5 * needs[0].peak_bytes


def test_what_does_not_fit_is_extrapolated(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    from revgnn.train.run import footprint

    deep = config.override(["model.depth=48", "parts=1"])
    measured = compare_footprint(deep)
    monkeypatch.setattr(footprint, "_free_bytes", lambda device: 0)
    estimated = compare_footprint(deep)
    assert not estimated.stored_is_measured
    assert estimated.stored_bytes == pytest.approx(measured.stored_bytes, rel=0.05)
