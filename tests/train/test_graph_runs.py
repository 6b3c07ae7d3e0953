"""Runs on many small graphs, from Python and from the command line: train, resume, evaluate, predict."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from revgnn.data import load
from revgnn.train import RunConfig, RunFolder, evaluate_run, predict_run, train
from revgnn.train.run.loop import Interrupted
from revgnn.train.run.session import prepare
from tests.cli.test_commands import refuse, succeed
from tests.data.many import write_tu
from tests.train.test_resume import assert_same_run

SMALL = {
    "model": {"depth": 3, "channels": 16, "groups": 2, "dropout": 0.1},
    "optim": {"lr": 0.01, "warmup": 1},
    "epochs": 8,
    "graphs_per_batch": 7,
    "device": "cpu",
}


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tu(tmp_path_factory.mktemp("tu") / "TOY", count=120)


def config_of(path: Path, **settings: object) -> RunConfig:
    return RunConfig.parse({"data": {"name": str(path)}, **SMALL}).replace(settings)


@pytest.fixture(scope="module")
def run(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "a"
    train(config_of(toy), folder)
    return folder


def test_it_learns_and_scores_come_back(run: Path) -> None:
    result = RunFolder(run).result()
    assert result is not None
    assert result["metric"] == "rocauc"
    assert result["test"] > 0.8
    scores = evaluate_run(run)
    assert [scores[name] for name in ("train", "valid", "test")] == [result[name] for name in ("train", "valid", "test")]


def test_predictions_have_a_row_for_each_graph(run: Path, toy: Path, tmp_path: Path) -> None:
    predict_run(run, tmp_path / "p.csv", calibrate=True)
    with open(tmp_path / "p.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    data = load(str(toy))
    assert [int(row["graph"]) for row in rows] == list(range(120))
    assert [n for n, row in enumerate(rows) if row["split"] == "test"] == data.split.test.sort().values.tolist()
    predict_run(run, tmp_path / "p.npz")
    with np.load(tmp_path / "p.npz") as found:
        assert found["logits"].shape == (120, 1)
        assert found["graphs"].tolist() == list(range(120))


def test_each_epoch_trains_every_graph_once_in_another_order(toy: Path) -> None:
    session = prepare(config_of(toy))
    train_graphs = session.dataset.split.train
    orders = [torch.cat([b.rows for b in session.batches.epoch(session.partition, e) if b.rows is not None]) for e in (1, 2)]
    assert not torch.equal(*orders)
    for order in orders:
        assert torch.equal(order.sort().values, train_graphs.sort().values)
    assert session.steps == -(-len(train_graphs) // 7)
    rest = [b.rows for b in session.batches.epoch(session.partition, 1, start=3) if b.rows is not None]
    assert torch.equal(torch.cat(rest), orders[0][21:])


@pytest.mark.parametrize("settings", [{}, {"model.readout": "attention", "amp": "bf16", "data.task": "regression"}], ids=str)
def test_a_run_that_stops_resumes_bit_for_bit(toy: Path, tmp_path: Path, settings: dict[str, object]) -> None:
    config = config_of(toy, epochs=2, graphs_per_batch=24, **settings)
    train(config, tmp_path / "unbroken")
    steps = 0

    def stop() -> bool:
        nonlocal steps
        steps += 1
        return steps == 5

    with pytest.raises(Interrupted):
        train(config, tmp_path / "broken", should_stop=stop)
    train(config, tmp_path / "broken", resume=True)
    assert_same_run(tmp_path / "broken", tmp_path / "unbroken")


@pytest.mark.parametrize("settings", [{"parts": 2}, {"evaluation.parts": 2}, {"label_inputs": 0.5}], ids=lambda s: next(iter(s)))
def test_settings_for_one_graph_are_refused(toy: Path, settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"has labels of graphs, so {next(iter(settings))}="):
        prepare(config_of(toy, **settings))


def test_a_student_of_graphs(run: Path, toy: Path, tmp_path: Path) -> None:
    result = train(config_of(toy, epochs=2, **{"distillation.teacher": str(run)}), tmp_path / "student")
    assert result.epochs == 2


def test_the_command_line(tmp_path: Path) -> None:
    folder, out = write_tu(tmp_path / "TOY"), tmp_path / "a"
    small = ["--preset", "revgnn-7", "--set", "model.channels=8", "--set", "model.depth=3", "--set", "graphs_per_batch=9"]
    shown = succeed("train", folder, *small, "--epochs", 2, "--set", "class_weights=balanced", "--out", out)
    assert "TOY: 60 graphs" in shown
    succeed("train", folder, *small, "--epochs", 3, "--set", "class_weights=balanced", "-q", "--resume", "--out", out)
    result = RunFolder(out).result()
    assert result is not None
    assert result["epochs"] == 3
    assert json.loads(succeed("evaluate", out, "--json"))["valid"] == result["valid"]
    succeed("predict", out, "--out", tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_text().splitlines()[0] == "graph,predicted,probability_0,probability_1,split"
    assert "parts=2 does not fit" in refuse("train", folder, *small, "--set", "parts=2", "--out", tmp_path / "b")


def test_tables_of_graphs_on_the_command_line(tmp_path: Path) -> None:
    """From three tables to predictions for new graphs, by the ids of the graphs."""
    rng = np.random.default_rng(0)

    def tables(folder: Path, count: int, *, labels: bool) -> Path:
        folder.mkdir()
        sizes, kinds = rng.integers(1, 6, count), rng.random(count) < 0.5
        nodes = [f"{g}-{i},M{g},{rng.normal() + 2 * kinds[g]:.3f}" for g in range(count) for i in range(sizes[g])]
        edges = [f"{g}-{i},{g}-{i - 1}" for g in range(count) for i in range(1, sizes[g])]
        (folder / "nodes.csv").write_text("\n".join(["node,graph,signal", *nodes]) + "\n")
        (folder / "edges.csv").write_text("\n".join(["source,target", *edges]) + "\n")
        if labels:
            lines = [f"M{g},{'high' if kinds[g] else 'low'}" for g in range(count)]
            (folder / "graphs.csv").write_text("\n".join(["graph,label", *lines]) + "\n")
        return folder

    folder, out = tables(tmp_path / "mols", 50, labels=True), tmp_path / "a"
    small = ["--preset", "revgnn-7", "--set", "model.channels=8", "--set", "model.depth=3", "--epochs", 2]
    assert "50 graphs of" in succeed("train", f"{folder}/", *small, "--out", out)
    assert "graphs:" in (folder / "graph.yaml").read_text()
    succeed("predict", out, "--data", tables(tmp_path / "new", 9, labels=False), "--out", tmp_path / "p.csv")
    with open(tmp_path / "p.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["graph", "predicted", "probability_high", "probability_low", "split"]
    assert [row["graph"] for row in rows] == [f"M{g}" for g in range(9)]
    assert json.loads(succeed("evaluate", out, "--json"))["metric"] == "rocauc"
