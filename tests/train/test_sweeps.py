"""Sweeps over splits and seeds."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev

import numpy as np
import pytest
from typer.testing import CliRunner

from revgnn.cli.app import app
from revgnn.train import evaluate_run, predict_run
from revgnn.train.config import RunConfig
from revgnn.train.datasets import load_dataset
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


def test_a_sweep_is_evaluated_and_predicts_by_its_mean(config: RunConfig, tmp_path: Path) -> None:
    summary = sweep(config, tmp_path / "s", splits=[0], seeds=[2, 10])
    scores = evaluate_run(tmp_path / "s")
    assert [Path(run["run"]).name for run in scores["runs"]] == ["split-0-seed-2", "split-0-seed-10"]
    for part in ("valid", "test"):
        assert scores[part] == pytest.approx(summary[part])
    written = CliRunner().invoke(app, ["evaluate", str(tmp_path / "s")]).stdout
    assert [line.split()[0] for line in written.splitlines()[3:]] == ["split-0-seed-2", "split-0-seed-10", "mean", "deviation"]

    report = predict_run(tmp_path / "s", tmp_path / "s.npz", spread=True)
    assert report["runs"] == ["split-0-seed-2", "split-0-seed-10"]
    single = []
    for name in report["runs"]:
        predict_run(tmp_path / "s" / name, tmp_path / f"{name}.npz")
        single.append(np.load(tmp_path / f"{name}.npz"))
    mean = np.load(tmp_path / "s.npz")
    for name in ("logits", "probabilities"):
        assert np.allclose(mean[name], (single[0][name] + single[1][name]) / 2, atol=1e-7)
        assert np.allclose(mean[f"{name}_std"], np.abs(single[0][name] - single[1][name]) / 2**0.5, atol=1e-6)
    assert np.array_equal(mean["splits"], single[0]["splits"])
    with pytest.raises(ValueError, match="this is a sweep"):
        predict_run(tmp_path / "s", tmp_path / "c.npz", calibrate=True)


def test_a_node_in_other_parts_of_other_splits_is_in_none(config: RunConfig, tmp_path: Path) -> None:
    assert config.data is not None
    whole = load_dataset(config.data)
    edges = np.stack([whole.graph.src.numpy(), whole.graph.dst.numpy()])
    assert whole.x is not None
    np.savez(tmp_path / "g.npz", edge_index=edges, x=whole.x.numpy(), y=whole.y.numpy())  # without a split: random ones
    config = config.replace({"data": {"name": str(tmp_path / "g.npz")}})
    sweep(config, tmp_path / "s", splits=[0, 1], seeds=[0])
    predict_run(tmp_path / "s", tmp_path / "s.csv")
    assert config.data is not None
    parts = [load_dataset(config.data.model_copy(update={"split": split})).split for split in (0, 1)]
    rows = (tmp_path / "s.csv").read_text().splitlines()[1:]
    both = set(parts[0].train.tolist()) & set(parts[1].train.tolist())
    assert both
    assert {node for node, row in enumerate(rows) if row.endswith('"train"')} == both
