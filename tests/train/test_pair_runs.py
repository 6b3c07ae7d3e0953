"""Links and labels of edges, from Python and from the command line: train, resume, evaluate, predict."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from sklearn.metrics import roc_auc_score

from revgnn.train import LoadOptions, RunConfig, RunFolder, evaluate_run, predict_run, train
from revgnn.train.run.loop import Interrupted
from revgnn.train.run.session import prepare
from tests.cli.test_commands import refuse, succeed
from tests.train.test_resume import assert_same_run

SMALL = {
    "model": {"depth": 3, "channels": 16, "groups": 2, "dropout": 0.0, "aggregation": "mean"},
    "optim": {"lr": 0.01},
    "epochs": 30,
    "device": "cpu",
}
PRESET = ["--preset", "revgnn-7", "--set", "model.channels=8", "--set", "model.depth=3"]


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph of four communities, which features show with noise; edges are mostly within."""
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 4, 200)
    every = rng.integers(0, 200, (2, 9000))
    edges = every[:, (kind[every[0]] == kind[every[1]]) | (rng.random(9000) < 0.02)][:, :1200]
    path = tmp_path_factory.mktemp("links") / "communities.npz"
    np.savez(path, edges=edges.T, x=np.eye(4)[kind] + 0.5 * rng.standard_normal((200, 4)))
    return path


def config_of(path: Path, **settings: object) -> RunConfig:
    return RunConfig.parse({"data": {"name": str(path), "task": "links"}, **SMALL}).replace(settings)


@pytest.fixture(scope="module")
def run(graph: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "a"
    train(config_of(graph), folder)
    return folder


def test_links_are_found_and_scores_come_back(run: Path) -> None:
    result = RunFolder(run).result()
    assert result is not None
    assert result["metric"] == "rocauc"
    assert result["test"] > 0.8
    scores = evaluate_run(run)
    assert [scores[name] for name in ("train", "valid", "test")] == [result[name] for name in ("train", "valid", "test")]


def test_predictions_have_a_row_for_each_pair_and_give_the_score(run: Path, tmp_path: Path) -> None:
    predict_run(run, tmp_path / "p.csv", calibrate=True)
    with open(tmp_path / "p.csv", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    assert list(rows[0])[:5] == ["source", "target", "predicted", "probability_0", "probability_1"]
    data = prepare(RunFolder(run).config()).dataset
    assert data.pairs is not None
    link = {tuple(pair): int(y) for pair, y in zip(data.pairs.ends.T.tolist(), data.y, strict=True)}
    truth = [link[int(row["source"]), int(row["target"])] for row in rows]
    result = RunFolder(run).result()
    assert result is not None
    assert roc_auc_score(truth, [float(row["probability_1"]) for row in rows]) == pytest.approx(result["test"], abs=1e-6)
    predict_run(run, tmp_path / "p.npz")
    with np.load(tmp_path / "p.npz") as found:
        assert np.array_equal(found["pairs"], data.pairs.ends.numpy())


def test_pairs_of_ones_own(run: Path, tmp_path: Path) -> None:
    """The logit of a pair does not depend on the other pairs, or on its direction."""
    predict_run(run, tmp_path / "all.npz")
    with np.load(tmp_path / "all.npz") as found:
        pairs, logits = found["pairs"][:, :3], found["logits"][:3, 0]
    (tmp_path / "mine.csv").write_text("from,to\n" + "".join(f"{b},{a}\n" for a, b in pairs.T))
    predict_run(run, tmp_path / "mine.npz", LoadOptions(pairs=tmp_path / "mine.csv"))
    with np.load(tmp_path / "mine.npz") as found:
        np.testing.assert_allclose(found["logits"][:, 0], logits, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="which pairs of your own do not have; leave it out"):
        predict_run(run, tmp_path / "no.csv", LoadOptions(pairs=tmp_path / "mine.csv"), calibrate=True)
    (tmp_path / "mine.csv").write_text("from,to\n0,1\n0,200\n")
    with pytest.raises(ValueError, match=r"mine.csv, row 2: to is '200', which is no node of"):
        predict_run(run, tmp_path / "no.csv", LoadOptions(pairs=tmp_path / "mine.csv"))


def test_each_epoch_draws_other_pairs_and_never_a_link(graph: Path) -> None:
    session = prepare(config_of(graph))
    data = session.dataset
    assert data.pairs is not None
    true = {tuple(pair) for pair in data.pairs.ends[:, data.y == 1].T.tolist()}
    drawn = []
    for epoch in (1, 2):
        (batch,) = session.batches.epoch(session.partition, epoch)
        ends = batch.targets["targets"]
        assert int((batch.y == 1).sum()) == int((batch.y == 0).sum())
        assert {tuple(pair) for pair in ends[:, batch.y == 1].T.tolist()} <= true
        drawn.append({tuple(pair) for pair in ends[:, batch.y == 0].T.tolist()})
        assert not drawn[-1] & true
    assert drawn[0] != drawn[1]
    (again,) = prepare(config_of(graph)).batches.epoch(session.partition, 2)
    assert torch.equal(again.targets["targets"], ends)


@pytest.mark.parametrize("settings", [{"model.decoder": "dot", "data.metric": "hits@50"}, {"data.metric": "ap"}], ids=str)
def test_a_run_that_stops_resumes_bit_for_bit(graph: Path, tmp_path: Path, settings: dict[str, object]) -> None:
    config = config_of(graph, epochs=5, **settings)
    train(config, tmp_path / "unbroken")
    steps = 0

    def stop() -> bool:
        nonlocal steps
        steps += 1
        return steps == 3

    with pytest.raises(Interrupted):
        train(config, tmp_path / "broken", should_stop=stop)
    train(config, tmp_path / "broken", resume=True)
    assert_same_run(tmp_path / "broken", tmp_path / "unbroken")


@pytest.mark.parametrize("changes", [{"parts": 2}, {"label_inputs": 0.5}, {"evaluation.parts": 2}], ids=lambda c: next(iter(c)))
def test_settings_for_nodes_are_refused(graph: Path, changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"has labels of pairs, so {next(iter(changes))}="):
        prepare(config_of(graph, **changes))


def test_labels_of_edges_in_an_npz_file(graph: Path, tmp_path: Path) -> None:
    """Whether the two ends are of one kind; pairs may be any, not only edges."""
    with np.load(graph) as found:
        edges, x = found["edges"], found["x"]
    rng = np.random.default_rng(1)
    pairs = rng.integers(0, 200, (2, 600))
    same = (x.argmax(1)[pairs[0]] == x.argmax(1)[pairs[1]]).astype(np.int64)
    np.savez(tmp_path / "same.npz", edges=edges, x=x, pairs=pairs, y=same)
    config = config_of(tmp_path / "same.npz", epochs=40, **{"data.task": None})
    result = train(config, tmp_path / "a")
    assert result.metric == "rocauc"
    assert result.test is not None
    assert result.test > 0.65


# --- tables ---------------------------------------------------------------------------------------------------------------


def tables(folder: Path, *, rating: str = "", seed: int = 0) -> Path:
    """Write people who know each other; perhaps with a column of edges."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    nodes = [f"P{i},{rng.normal():.3f},{'north' if i % 2 else 'south'}" for i in range(60)]
    (folder / "nodes.csv").write_text("\n".join(["person,age,label", *nodes]) + "\n")
    ends = rng.integers(0, 60, (150, 2))
    ends = ends[ends[:, 0] != ends[:, 1]]
    values = {"strength": [f",{(a + b) / 7}" for a, b in ends], "kind": [f",{'work' if a % 2 else 'school'}" for a, _ in ends]}
    cells = values.get(rating, [""] * len(ends))
    rows = [f"P{a},P{b}{cell}" for (a, b), cell in zip(ends, cells, strict=True)]
    (folder / "edges.csv").write_text("\n".join(["one,other" + (f",{rating}" if rating else ""), *rows]) + "\n")
    return folder


def test_links_of_tables_on_the_command_line(tmp_path: Path) -> None:
    folder, out = tables(tmp_path / "people"), tmp_path / "a"
    succeed("train", f"{folder}/", "--task", "links", *PRESET, "--epochs", 2, "--out", out)
    spec = yaml.safe_load((folder / "graph.yaml").read_text())
    assert spec["task"] == "links"
    assert spec["nodes"]["columns"]["label"] == "categorical"  # a feature, since links need no label
    succeed("train", f"{folder}/", "--task", "links", *PRESET, "--epochs", 3, "-q", "--resume", "--out", out)
    result = RunFolder(out).result()
    assert result is not None
    assert result["epochs"] == 3
    assert json.loads(succeed("evaluate", out, "--json"))["valid"] == result["valid"]
    (tmp_path / "pairs.csv").write_text("one,other\nP1,P2\nP9,P3\n")
    succeed("predict", out, "--pairs", tmp_path / "pairs.csv", "--out", tmp_path / "p.csv")
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert lines[0] == "one,other,predicted,probability_no,probability_yes,split"
    assert [line.replace('"', "").split(",")[:2] for line in lines[1:]] == [["P1", "P2"], ["P9", "P3"]]
    new = tables(tmp_path / "new", seed=5)
    succeed("predict", out, "--data", new, "--pairs", tmp_path / "pairs.csv", "--out", tmp_path / "q.csv")
    assert len((tmp_path / "q.csv").read_text().splitlines()) == 3
    assert json.loads(succeed("evaluate", out, "--data", new, "--json"))["test"] is not None
    (tmp_path / "pairs.csv").write_text("one,other\nP1,X\n")
    assert "row 1: other is 'X', which is no node" in refuse(
        "predict", out, "--pairs", tmp_path / "pairs.csv", "--out", tmp_path / "r.csv"
    )


def test_the_task_in_graph_yaml_holds_until_another_is_named(tmp_path: Path) -> None:
    folder = tables(tmp_path / "people")
    succeed(
        "train", f"{folder}/", "--task", "links", "--split-ratios", "0.5,0.25,0.25", *PRESET, "--epochs", 1, "--out", tmp_path / "a"
    )
    data = prepare(RunFolder(tmp_path / "a").config()).dataset
    assert data.row == "pair"
    assert len(data.split.valid) == pytest.approx(len(data.y) / 4, abs=2)
    assert " pairs, 60 nodes" in succeed("train", f"{folder}/", *PRESET, "--epochs", 1, "--out", tmp_path / "b")
    words = ["--task", "binary", "--label", "label", *PRESET, "--epochs", 1]
    assert ": 60 nodes" in succeed("train", f"{folder}/", *words, "--out", tmp_path / "c")


@pytest.mark.parametrize(("rating", "task"), [("strength", "regression"), ("kind", "binary")])
def test_labels_of_edges_on_the_command_line(tmp_path: Path, rating: str, task: str) -> None:
    folder, out = tables(tmp_path / "people", rating=rating), tmp_path / "a"
    train_words = ["train", f"{folder}/", "--task", "edges", "--label", rating, *PRESET]
    shown = succeed(*train_words, "--epochs", 2, "--out", out)
    assert " pairs, 60 nodes" in shown
    succeed(*train_words, "--epochs", 3, "-q", "--resume", "--out", out)
    assert prepare(RunFolder(out).config()).dataset.task == task
    result = RunFolder(out).result()
    assert result is not None
    assert json.loads(succeed("evaluate", out, "--json"))["valid"] == result["valid"]
    new = tables(tmp_path / "new", seed=5)
    succeed("predict", out, "--data", new, "--out", tmp_path / "p.csv")
    lines = (tmp_path / "p.csv").read_text().splitlines()
    assert lines[0].startswith("one,other,predicted")
    assert len(lines) == len((new / "edges.csv").read_text().splitlines())
    (tmp_path / "pairs.csv").write_text("one,other\nP1,P2\n")
    succeed("predict", out, "--pairs", tmp_path / "pairs.csv", "--out", tmp_path / "q.csv")


def test_edges_without_a_label(tmp_path: Path) -> None:
    error = refuse("train", f"{tables(tmp_path / 'people')}/", "--task", "edges", *PRESET, "--out", tmp_path / "a")
    assert "edges.csv: no column is the label" in error
