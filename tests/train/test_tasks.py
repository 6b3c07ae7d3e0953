"""Every task from Python: trains, resumes bit for bit, evaluates to the scores it recorded, and predicts."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from revgnn.data import load, save_npz
from revgnn.train import RunConfig, RunFolder, evaluate_run, predict_run, train
from revgnn.train.inference.saved_run import thresholds_of
from revgnn.train.run.loop import Interrupted
from revgnn.train.run.session import prepare
from revgnn.train.run.tensor_file import CheckpointError
from tests.train.test_resume import assert_same_run

SMALL = {"model": {"depth": 3, "channels": 8, "groups": 2, "dropout": 0.3}, "optim": {"lr": 0.01}, "epochs": 4, "device": "cpu"}


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph whose two targets are, but for noise, in the features of neighbours; some are missing."""
    path = tmp_path_factory.mktemp("numbers") / "numbers.npz"
    data = load("synthetic:nodes=240,degree=8,tasks=3")
    assert data.x is not None
    src, dst = data.graph.src.long(), data.graph.dst.long()
    means = torch.zeros_like(data.x).index_reduce(0, dst, data.x[src], "mean", include_self=False)
    y = torch.stack([1000 + 50 * means[:, 0], 1e-3 * means[:, 1]], dim=1).numpy()
    y[::7, 1] = np.nan
    arrays = {"edge_index": torch.stack([src, dst]).numpy(), "x": data.x.numpy(), "y": y, "task_names": np.array(["size", "rate"])}
    np.savez(path, **arrays)
    return path


def config_of(path: Path, **settings: object) -> RunConfig:
    return RunConfig.parse({"data": {"name": str(path)}, **SMALL}).replace(settings)


@pytest.fixture(scope="module")
def run(numbers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "a"
    train(config_of(numbers, **{"epochs": 25, "model.dropout": 0.0, "model.channels": 16, "model.aggregation": "mean"}), folder)
    return folder


def test_the_best_epoch_has_the_smallest_error(run: Path) -> None:
    valid = [line["valid"] for line in RunFolder(run).metrics()]
    result = RunFolder(run).result()
    assert result is not None
    assert result["metric"] == "mae"
    assert result["valid"] == min(valid) < valid[0]
    assert result["best_epoch"] == 1 + valid.index(min(valid))


def test_what_is_predicted_is_better_than_the_mean(numbers: Path, run: Path, tmp_path: Path) -> None:
    data = load(str(numbers))
    predict_run(run, tmp_path / "p.npz")
    with np.load(tmp_path / "p.npz") as found:
        predicted = torch.from_numpy(found["predictions"])
    test = data.split.test
    y = data.y[test]
    mean = data.y[data.split.train].nanmean(dim=0)
    for t in range(2):
        known = ~y[:, t].isnan()
        assert float((predicted[test, t] - y[:, t])[known].abs().mean()) < 0.8 * float((mean[t] - y[:, t])[known].abs().mean())


def test_a_table_of_numbers(numbers: Path, run: Path, tmp_path: Path) -> None:
    predict_run(run, tmp_path / "p.npz")
    predict_run(run, tmp_path / "p.csv")
    with open(tmp_path / "p.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["node", "predicted_size", "predicted_rate", "split"]
    with np.load(tmp_path / "p.npz") as found:
        np.testing.assert_allclose([float(row["predicted_size"]) for row in rows], found["predictions"][:, 0], rtol=1e-6)


def test_evaluation_gives_the_scores_of_the_run(run: Path) -> None:
    result = RunFolder(run).result()
    assert result is not None
    scores = evaluate_run(run)
    assert [scores[name] for name in ("train", "valid", "test")] == [result[name] for name in ("train", "valid", "test")]
    assert json.loads(json.dumps(scores))["metric"] == "mae"


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "huber", "data.metric": "r2", "parts": 2},
        {"data.name": "synthetic:nodes=240,degree=8,tasks=3", "data.metric": "f1_macro", "class_weights": "balanced"},
    ],
    ids=["regression", "multilabel"],
)
def test_a_run_that_stops_resumes_bit_for_bit(numbers: Path, tmp_path: Path, settings: dict[str, object]) -> None:
    config = config_of(numbers, **settings)
    train(config, tmp_path / "unbroken")
    steps = 0

    def stop() -> bool:
        nonlocal steps
        steps += 1
        return steps == 2

    with pytest.raises(Interrupted):
        train(config, tmp_path / "broken", should_stop=stop)
    train(config, tmp_path / "broken", resume=True)
    assert_same_run(tmp_path / "broken", tmp_path / "unbroken")


def test_thresholds_are_chosen_on_validation_and_used_by_predict(tmp_path: Path) -> None:
    config = config_of(Path("unused"), **{"data.name": "synthetic:nodes=240,degree=8,tasks=3", "data.metric": "f1_macro"})
    result = train(config, tmp_path / "a")
    thresholds = RunFolder(tmp_path / "a").best_scores()["thresholds"]
    assert len(thresholds) == 3
    scores = evaluate_run(tmp_path / "a")
    assert (scores["valid"], scores["test"]) == (result.valid, result.test)
    predict_run(tmp_path / "a", tmp_path / "p.csv")
    with open(tmp_path / "p.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [column.removeprefix("predicted_") for column in rows[0] if column.startswith("predicted_")]
    for name, threshold in zip(names, thresholds, strict=True):
        for row in rows:
            assert (row[f"predicted_{name}"] == "true") == (float(np.float32(row[f"probability_{name}"])) > threshold)


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.5, 1.5], "half", [0.5, 0.5, None]], ids=str)
def test_damaged_thresholds_are_named(tmp_path: Path, values: object) -> None:
    with pytest.raises(CheckpointError, match=r"best.safetensors must hold 3 probabilities as thresholds, got"):
        thresholds_of({"thresholds": values}, tmp_path / "best.safetensors", 3)


def test_class_weights_change_the_gradient_and_wrong_ones_are_refused() -> None:
    config = config_of(Path("unused"), **{"data.name": "synthetic:nodes=240,degree=8,tasks=3"})
    weighted = prepare(config.replace({"class_weights": [1, 2, 3]}))
    assert weighted.class_weights is not None
    assert weighted.class_weights.tolist() == [[1, 1], [1, 2], [1, 3]]
    with pytest.raises(ValueError, match="3 positive numbers"):
        prepare(config.replace({"class_weights": [1, 2]}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "cross_entropy"}, "loss=cross_entropy needs classes, and numbers is regression; use loss=mse or l1 or huber"),
        ({"class_weights": "balanced"}, "a regression task has no class weights; leave class_weights out"),
        ({"label_inputs": 0.5}, "a regression task has no labels as inputs; set label_inputs=0"),
        ({"distillation.teacher": "x"}, "a regression task has no distillation; leave distillation out"),
        ({"data.metric": "rocauc"}, "metric rocauc does not fit regression labels; use mae, rmse, r2"),
        ({"data.task": "multiclass"}, "y of shape .* is not multiclass"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(numbers: Path, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prepare(config_of(numbers, **settings))


def test_calibration_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a regression task has no calibrated probabilities; leave calibrate=True out"):
        predict_run(run, tmp_path / "p.csv", calibrate=True)


def test_a_data_set_of_numbers_is_written_and_read(numbers: Path, tmp_path: Path) -> None:
    data = load(str(numbers))
    save_npz(data, tmp_path / "again.npz")
    again = load(str(tmp_path / "again.npz"))
    assert (again.task, again.metric, again.task_names) == ("regression", "mae", ("size", "rate"))
    assert torch.equal(again.y.nan_to_num(-1), data.y.nan_to_num(-1))


def test_class_numbers_are_predicted_as_numbers_on_request(tmp_path: Path) -> None:
    edges = np.array([[0, 1, 2, 3], [1, 2, 3, 0]])
    np.savez(tmp_path / "stars.npz", edge_index=edges, y=np.array([1, 2, 5, 3]), train_mask=[True] * 4)
    session = prepare(config_of(tmp_path / "stars.npz", **{"data.task": "regression"}))
    assert session.dataset.task == "regression"
    assert session.dataset.y.tolist() == [[1], [2], [5], [3]]
