"""What `predict_run` writes and reports."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from revgnn.train.config import RunConfig
from revgnn.train.inference.calibration import fit_temperatures
from revgnn.train.inference.predict import predict_run
from revgnn.train.inference.saved_run import LoadOptions
from revgnn.train.metrics import score
from revgnn.train.run.loop import train
from revgnn.train.run.session import prepare


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


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


def test_predictions_into_a_missing_folder(run: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="create it"):
        predict_run(run, tmp_path / "no" / "p.npz")


def test_spread_and_calibration_add_arrays(run: Path, config: RunConfig, tmp_path: Path) -> None:
    predict_run(run, tmp_path / "plain.npz", LoadOptions(views=4, parts=3))
    report = predict_run(run, tmp_path / "all.npz", LoadOptions(views=4, parts=3), spread=True, calibrate=True)
    plain, arrays = arrays_of(tmp_path / "plain.npz"), arrays_of(tmp_path / "all.npz")
    for name, array in plain.items():
        assert np.array_equal(arrays[name], array)
    assert sorted(arrays.keys() - plain.keys()) == ["calibrated", "logits_std", "probabilities_std", "temperatures"]
    for name in ("calibrated", "logits_std", "probabilities_std"):
        assert arrays[name].shape == (240, 3)
        assert arrays[name].dtype == np.float32
    assert arrays["temperatures"].dtype == np.float64
    # the steepest slope of the logistic function is 1/4; float32 probabilities are off by half of 2^-24 themselves
    assert (arrays["probabilities_std"] <= arrays["logits_std"] / 4 + 2**-24).all()

    dataset = prepare(config).dataset
    logits, valid = torch.from_numpy(arrays["logits"]), dataset.split.valid
    fitted = fit_temperatures("multilabel", logits[valid], dataset.y[valid])
    assert torch.equal(torch.from_numpy(arrays["temperatures"]), fitted.values)
    assert torch.equal(torch.from_numpy(arrays["calibrated"]), fitted.apply(logits).sigmoid().float())
    for nodes in (valid, dataset.split.test):
        scaled = fitted.apply(logits)[nodes]
        assert score("rocauc", "multilabel", scaled, dataset.y[nodes]) == score(
            "rocauc", "multilabel", logits[nodes], dataset.y[nodes]
        )

    assert json.loads(json.dumps(report)) == report
    assert (report["views"], report["parts"], report["amp"]) == (4, 3, "none")
    assert report["arrays"] == {name: list(array.shape) for name, array in arrays.items()}
    calibration = report["calibration"]
    assert calibration["temperatures"] == arrays["temperatures"].tolist()
    assert calibration["valid"]["nll_after"] <= calibration["valid"]["nll_before"]
    assert set(calibration["test"]) == {"nll_before", "nll_after", "error_before", "error_after"}


def test_an_existing_file_is_not_overwritten_silently(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.npz"
    out.write_text("mine")
    with pytest.raises(FileExistsError, match=r"p\.npz exists; replace it with overwrite=True, or choose another folder as out"):
        predict_run(run, out)
    assert out.read_text() == "mine"
    predict_run(run, out, overwrite=True)
    assert arrays_of(out)["logits"].shape[0] == 240
    with pytest.raises(IsADirectoryError, match="is a folder"):
        predict_run(run, tmp_path, overwrite=True)


def test_too_few_views_for_a_spread_write_nothing(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 or more views of 2 or more parts"):
        predict_run(run, tmp_path / "p.npz", LoadOptions(views=5, parts=1), spread=True)
    assert list(tmp_path.iterdir()) == []


def test_classes_of_a_real_graph(real_data: Path, tmp_path: Path) -> None:
    """Cora: seven classes, one temperature."""
    from revgnn.experiments.compose import compose

    settings = ["model.depth=3", "model.channels=16", "optim.lr=0.02", "evaluation.every=15", "optim.schedule=constant"]
    config = compose("cora", preset="revgnn-7", root=real_data, settings=settings, changes={"epochs": 30, "device": "cpu"})
    train(config, tmp_path / "a")
    report = predict_run(tmp_path / "a", tmp_path / "p.npz", calibrate=True)
    arrays = arrays_of(tmp_path / "p.npz")
    assert arrays["temperatures"].shape == (1,)
    assert np.array_equal(arrays["calibrated"].argmax(axis=1), arrays["probabilities"].argmax(axis=1))
    np.testing.assert_allclose(arrays["calibrated"].sum(axis=1), 1.0, rtol=1e-6)
    assert report["calibration"]["valid"]["nll_after"] < report["calibration"]["valid"]["nll_before"]
    assert None not in report["calibration"]["test"].values()
