"""The correlation of runs, compared with NumPy on the files that `predict_run` writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from revgnn.cli.app import app
from revgnn.data import load
from revgnn.train import RunConfig, predict_run, train
from revgnn.train.inference.correlate import correlate_runs, pearson
from revgnn.train.metrics import score


@pytest.fixture(scope="module")
def runs(config: RunConfig, real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three runs on Cora: two seeds, and the second seed with one more epoch."""
    folder = tmp_path_factory.mktemp("runs")
    base = config.replace({"data.name": "cora", "data.root": str(real_data), "optim.lr": 0.02, "epochs": 6, "parts": 1})
    variants = {"a": {"seed": 1}, "b": {"seed": 2}, "c": {"seed": 2, "epochs": 7}}
    for name, changes in variants.items():
        train(base.replace(changes), folder / name)
    return [folder / name for name in variants]


def test_against_numpy_on_a_real_graph(runs: list[Path], real_data: Path, tmp_path: Path) -> None:
    found = correlate_runs(runs)
    y = load("cora", real_data)
    test = y.split.test.numpy()
    files = []
    for run in runs:
        predict_run(run, tmp_path / "p.npz", overwrite=True)
        with np.load(tmp_path / "p.npz", allow_pickle=False) as file:
            assert np.array_equal(np.flatnonzero(file["splits"] == "test"), np.sort(test))
            files.append({key: file[key][test].astype(np.float64) for key in ("logits", "probabilities")})
    for key, matrix in (("probabilities", found.pearson), ("logits", found.pearson_logits)):
        expected = np.corrcoef([file[key].ravel() for file in files])
        np.testing.assert_allclose(np.array(matrix, dtype=np.float64), expected, rtol=0, atol=1e-6)
    mean = torch.from_numpy(sum(file["logits"] for file in files) / len(files))
    assert found.ensemble == pytest.approx(score("accuracy", "multiclass", mean, y.y[y.split.test]), abs=1e-3)
    results = [json.loads((run / "result.json").read_text())["test"] for run in runs]
    assert list(found.test) == pytest.approx(results, abs=1e-6)
    assert found.num_test_nodes == 1000


def test_pearson() -> None:
    x = torch.linspace(0, 1, 12).view(4, 3)
    matrix = pearson([x, 2 * x + 3, -x, torch.full_like(x, 0.1)])
    assert matrix[0][:3] == pytest.approx((1.0, 1.0, -1.0), abs=1e-12)
    assert [row[3] for row in matrix] == [None] * 4
    assert matrix[3] == (None,) * 4


def test_command(runs: list[Path]) -> None:
    answer = CliRunner().invoke(app, ["correlate", *map(str, runs)])
    assert answer.exit_code == 0, answer.output
    assert "cora, 1,000 test nodes" in answer.stdout
    record = json.loads(CliRunner().invoke(app, ["correlate", *map(str, runs), "--json"]).stdout)
    assert record["runs"] == [str(run) for run in runs]
    for i in range(3):
        assert record["pearson"][i][i] == 1.0
        assert f"{record['pearson'][0][i]:.4f}" in answer.stdout
    assert f"test {record['ensemble']:.4f}" in answer.stdout


def test_runs_that_cannot_be_compared(runs: list[Path], config: RunConfig, tmp_path: Path) -> None:
    def refuse(*words: object) -> str:
        answer = CliRunner().invoke(app, ["correlate", *map(str, words)])
        assert answer.exit_code == 2, answer.output
        assert len(answer.stderr.splitlines()) == 1
        return answer.stderr

    assert "two runs or more, got 1" in refuse(runs[0])
    assert "is not a folder" in refuse(runs[0], tmp_path / "nothing")
    train(config.replace({"epochs": 1}), tmp_path / "other")
    assert "on cora and" in refuse(runs[0], tmp_path / "other")


def test_other_test_nodes_are_refused(config: RunConfig, real_data: Path, tmp_path: Path) -> None:
    base = config.replace({"data.name": "computers", "data.root": str(real_data), "epochs": 1, "parts": 8})
    for split in (0, 1):
        train(base.replace({"data.split": split}), tmp_path / str(split))
    with pytest.raises(ValueError, match=r"split 0\) and .*split 1\) have other test nodes"):
        correlate_runs([tmp_path / "0", tmp_path / "1"])
