"""Tables on the command line: options of `train`, predictions in every format, new graphs, moved runs, refusals."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pa_parquet
import pytest
import yaml

from revgnn.train.run.folder import RunFolder
from tests.cli.test_commands import GRAPH, SMALL, refuse, revgnn, succeed

TRAIN = [*SMALL, "--epochs", 2, "-q"]
PLANS = ("basic", "gold", "silver")

Lines = list[list[Any]]


def write(path: Path, lines: Lines) -> Path:
    path.parent.mkdir(exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)
    return path


def shop(folder: Path, *, label: Callable[[int], list[Any]] | None = None, seed: int = 0, n: int = 60) -> Path:
    """Write a small graph; `label` makes the cells of the columns of labels of a node."""
    rng = np.random.default_rng(seed)
    names = [f"C{i:02}" for i in range(n)]
    head = ["customer", "age", "city"]
    nodes = [[names[i], rng.integers(20, 60), ("Bern", "Genf", "")[rng.integers(3)]] for i in range(n)]
    if label is not None:
        width = len(label(0))
        head += ["label"] if width == 1 else [f"label_{k}" for k in range(width)]
        nodes = [[*row, *label(i)] for i, row in enumerate(nodes)]
    write(folder / "nodes.csv", [head, *nodes])
    ends = rng.integers(0, n, (3 * n, 2))
    write(folder / "edges.csv", [["buyer", "seller"], *([names[a], names[b]] for a, b in ends)])
    return folder


def one_plan(i: int) -> list[str]:
    return [PLANS[i % 3]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run on tables. Tests must not change it, or the tables beside it."""
    folder = tmp_path_factory.mktemp("tables")
    succeed("train", f"{shop(folder / 'shop', label=one_plan)}/", *TRAIN, "--out", folder / "run")
    return folder / "run"


def rows_of(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return pa_parquet.read_table(path).to_pylist()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


# --- training -----------------------------------------------------------------------------------------------------------


def test_train_reports_what_was_read(tmp_path: Path) -> None:
    folder = shop(tmp_path / "shop", label=one_plan)
    text = succeed("train", f"{folder}/", *SMALL, "--epochs", 1, "--out", tmp_path / "a")
    assert "60 nodes of" in text
    assert "180 edges of" in text
    for words in (("nodes", "customer", "id"), ("nodes", "city", "categorical"), ("edges", "seller", "target")):
        assert any(line.split()[:3] == list(words) for line in text.splitlines()), words
    assert f"written: {folder / 'graph.yaml'}; change it" in text
    again = succeed("train", f"{folder}/", *SMALL, "--epochs", 1, "--out", tmp_path / "b")
    assert f"columns are used as {folder / 'graph.yaml'} says" in again


def test_the_report_is_legible_in_60_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    folder = shop(tmp_path / "shop", label=one_plan)
    text = succeed("train", f"{folder}/", *SMALL, "--epochs", 1, "--out", tmp_path / "a")
    table = [line for line in text.splitlines() if line.lstrip().startswith(("nodes ", "edges ", "table "))]
    assert table
    assert all(len(line) <= 60 for line in table)


def test_a_run_records_how_it_read_its_tables(run: Path) -> None:
    stored = json.loads((run / "tables.json").read_text())
    assert stored["labels"]["classes"] == list(PLANS)
    assert [column["name"] for column in stored["nodes"]] == ["age", "city"]


def test_named_files_and_all_options(tmp_path: Path) -> None:
    folder = shop(tmp_path / "shop", label=one_plan)
    nodes, edges = (folder / "nodes.csv").rename(tmp_path / "people.csv"), (folder / "edges.csv").rename(tmp_path / "sales.csv")
    words = ["--label", "label", "--kind", "age=categorical", "--split-ratios", "0.5,0.25,0.25", "--stratify", "--directed"]
    succeed("train", "--nodes", nodes, "--edges", edges, *words, *TRAIN, "--out", tmp_path / "a")
    config = RunFolder(tmp_path / "a").config()
    assert config.data is not None
    assert config.data.undirected is False
    assert config.data.split_ratios == (0.5, 0.25, 0.25)
    spec = yaml.safe_load((tmp_path / "graph.yaml").read_text())
    assert spec["nodes"]["columns"]["age"] == "categorical"
    assert spec["split"]["stratify"] is True
    before = RunFolder(tmp_path / "a").result()
    succeed("train", "--config", tmp_path / "a" / "config.yaml", "--out", tmp_path / "b", "-q")
    after = RunFolder(tmp_path / "b").result()
    assert before is not None
    assert after is not None
    assert (before["valid"], before["test"]) == (after["valid"], after["test"])


def test_a_sweep_over_splits_fits_encodings_anew(tmp_path: Path) -> None:
    folder = shop(tmp_path / "shop", label=one_plan)
    succeed("train", f"{folder}/", *SMALL, "--epochs", 1, "-q", "--split", "all", "--out", tmp_path / "a")
    means = {json.loads(path.read_text())["nodes"][0]["mean"] for path in tmp_path.glob("a/*/tables.json")}
    assert len(means) == 10


def test_resume(tmp_path: Path) -> None:
    folder = shop(tmp_path / "shop", label=one_plan)
    succeed("train", f"{folder}/", *SMALL, "--epochs", 1, "-q", "--out", tmp_path / "a")
    succeed("train", "--resume", "--out", tmp_path / "a", "--epochs", 2, "-q")
    assert len(RunFolder(tmp_path / "a").metrics()) == 2


def test_dropped_rows_are_counted(tmp_path: Path) -> None:
    folder = shop(tmp_path / "shop", label=one_plan)
    with open(folder / "edges.csv", "a") as file:
        file.write("C00,nobody\nC00\n")
    words = ("train", f"{folder}/", *SMALL, "--epochs", 1, "--out", tmp_path / "a")
    error = refuse(*words)
    assert "edges.csv, row 182: 1 cells, but there are 2 columns" in error
    assert not (tmp_path / "a").exists() or not any((tmp_path / "a").glob("*.yaml"))
    text = succeed(*words, "--on-bad-rows", "drop")
    assert "dropped: 1 rows, edges: unknown node" in text
    assert "dropped: 1 rows, edges: cells do not fit the columns" in text


# --- answers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".jsonl"])
def test_predictions_join_back_by_id(run: Path, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"p{ending}"
    text = succeed("predict", run, "--out", out)
    assert "60 rows of customer, predicted, probability_basic" in text
    succeed("predict", run, "--out", tmp_path / "p.npz")
    rows = rows_of(out)
    assert [row["customer"] for row in rows] == [f"C{i:02}" for i in range(60)]
    with np.load(tmp_path / "p.npz") as arrays:
        assert arrays["ids"].tolist() == [row["customer"] for row in rows]
        assert arrays["classes"].tolist() == list(PLANS)
        table = np.array([[float(row[f"probability_{plan}"]) for plan in PLANS] for row in rows], np.float32)
        np.testing.assert_array_equal(table, arrays["probabilities"])
        assert [row["predicted"] for row in rows] == [PLANS[i] for i in arrays["logits"].argmax(1)]
        assert [row["split"] or "" for row in rows] == arrays["splits"].tolist()


def test_spread_and_calibration(run: Path, tmp_path: Path) -> None:
    words = ("--views", 3, "--parts", 2, "--spread", "--calibrate")
    succeed("predict", run, "--out", tmp_path / "p.csv", *words)
    names = list(rows_of(tmp_path / "p.csv")[0])
    for kind in ("probability", "spread", "calibrated"):
        assert [f"{kind}_{plan}" for plan in PLANS] == [name for name in names if name.startswith(kind)]


def test_an_unknown_ending_and_an_existing_file(run: Path, tmp_path: Path) -> None:
    assert "predictions are written as .csv, .parquet, .jsonl, .npz" in refuse("predict", run, "--out", tmp_path / "p.xlsx")
    (tmp_path / "p.csv").write_text("mine")
    assert "replace it with --overwrite" in refuse("predict", run, "--out", tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_text() == "mine"
    succeed("predict", run, "--out", tmp_path / "p.csv", "--overwrite")
    assert len(rows_of(tmp_path / "p.csv")) == 60


def test_a_new_graph(run: Path, tmp_path: Path) -> None:
    new = shop(tmp_path / "new", seed=1, n=20)
    text = (new / "nodes.csv").read_text()
    (new / "nodes.csv").write_text(text.replace("Bern", "Basel"))
    said = succeed("predict", run, "--data", new, "--out", tmp_path / "p.csv")
    count = text.count("Bern")
    assert f"note: {count} nodes: city: a category that was not told apart in training" in said
    assert [row["split"] for row in rows_of(tmp_path / "p.csv")] == [""] * 20
    report = json.loads(succeed("predict", run, "--data", new, "--out", tmp_path / "q.csv", "--json"))
    assert report["unknown"] == {"nodes: city": count}
    assert "has no labels to compare with" in refuse("evaluate", run, "--data", new)
    assert "which another graph does not have" in refuse("predict", run, "--data", new, "--out", tmp_path / "r.csv", "--calibrate")


def test_the_same_graph_as_new_data_has_the_same_predictions(run: Path, tmp_path: Path) -> None:
    succeed("predict", run, "--out", tmp_path / "a.csv")
    succeed("predict", run, "--data", run.parent / "shop", "--out", tmp_path / "b.csv")
    a, b = rows_of(tmp_path / "a.csv"), rows_of(tmp_path / "b.csv")
    assert [{**row, "split": ""} for row in a] == b  # nothing in the tables says which nodes were for training
    result = revgnn("evaluate", run, "--data", run.parent / "shop")
    assert "this score is of its training nodes too" in result.stderr


def test_evaluation_on_a_new_graph_with_labels(run: Path, tmp_path: Path) -> None:
    new = shop(tmp_path / "new", label=one_plan, seed=1, n=30)
    scores = json.loads(succeed("evaluate", run, "--data", new, "--json"))
    assert (scores["train"], scores["valid"]) == (None, None)
    succeed("predict", run, "--data", new, "--out", tmp_path / "p.csv")
    hits = np.mean([row["predicted"] == PLANS[i % 3] for i, row in enumerate(rows_of(tmp_path / "p.csv"))])
    assert scores["test"] == pytest.approx(hits)


def test_new_tables_with_other_columns(run: Path, tmp_path: Path) -> None:
    new = shop(tmp_path / "new", seed=1, n=20)
    text = (new / "nodes.csv").read_text()
    (new / "nodes.csv").write_text(text.replace("age", "years"))
    error = refuse("predict", run, "--data", new, "--out", tmp_path / "p.csv")
    assert "has no column 'age', which was numeric; its columns are customer, years, city" in error
    assert not (tmp_path / "p.csv").exists()


def test_a_moved_run_works(run: Path, tmp_path: Path) -> None:
    succeed("predict", run, "--out", tmp_path / "a.csv")
    shutil.copytree(run, tmp_path / "elsewhere" / "run")
    shutil.copytree(run.parent / "shop", tmp_path / "data")
    succeed("predict", tmp_path / "elsewhere" / "run", "--data", tmp_path / "data", "--out", tmp_path / "b.csv")
    assert [row["predicted"] for row in rows_of(tmp_path / "a.csv")] == [row["predicted"] for row in rows_of(tmp_path / "b.csv")]


def test_changed_tables_are_not_predicted_in_silence(tmp_path: Path) -> None:
    folder = shop(tmp_path / "shop", label=one_plan)
    succeed("train", f"{folder}/", *TRAIN, "--out", tmp_path / "a")
    spec = folder / "graph.yaml"
    spec.write_text(spec.read_text().replace("age: numeric", "age: ignored"))
    error = refuse("predict", tmp_path / "a", "--out", tmp_path / "p.csv")
    assert "have changed since the run was trained" in error
    succeed("predict", tmp_path / "a", "--data", folder, "--out", tmp_path / "p.csv")


@pytest.mark.parametrize(
    ("label", "columns"),
    [
        (lambda i: [("no", "yes")[i % 2]], ["predicted", "probability_no", "probability_yes"]),
        (lambda i: [i % 3], ["predicted", "probability_0", "probability_1", "probability_2"]),
        (
            lambda i: [i % 2, (i // 2) % 2],
            ["predicted_label_0", "predicted_label_1", "probability_label_0", "probability_label_1"],
        ),
        (lambda i: [("a|b", "b", "a")[i % 3]], ["predicted_a", "predicted_b", "probability_a", "probability_b"]),
    ],
    ids=["binary", "numbers", "columns", "lists"],
)
def test_labels_of_every_form(tmp_path: Path, label: Callable[[int], list[Any]], columns: list[str]) -> None:
    folder = shop(tmp_path / "shop", label=label)
    succeed("train", f"{folder}/", *TRAIN, "--out", tmp_path / "a")
    succeed("predict", tmp_path / "a", "--out", tmp_path / "p.parquet")
    rows = rows_of(tmp_path / "p.parquet")
    assert list(rows[0]) == ["customer", *columns, "split"]
    if columns[1] == "probability_no":
        assert all((row["predicted"] == "yes") == (row["probability_yes"] > 0.5) for row in rows)


def test_predictions_of_other_data_sets_have_numbers(tmp_path: Path) -> None:
    succeed("train", GRAPH, *TRAIN, "--out", tmp_path / "a")
    succeed("predict", tmp_path / "a", "--out", tmp_path / "p.csv")
    rows = rows_of(tmp_path / "p.csv")
    assert [int(row["node"]) for row in rows] == list(range(240))


def test_formulas_are_neither_changed_nor_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = shop(tmp_path / "shop", label=one_plan)
    for path in folder.iterdir():
        path.write_text(path.read_text().replace("C00", "=cmd|'/C touch executed'!A0"))
    succeed("train", f"{folder}/", *TRAIN, "--out", tmp_path / "a")
    succeed("predict", tmp_path / "a", "--out", tmp_path / "p.csv")
    assert rows_of(tmp_path / "p.csv")[0]["customer"] == "=cmd|'/C touch executed'!A0"
    assert not (tmp_path / "executed").exists()


# --- refusals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--label", "years"], "--label names 'years', which is no column of the nodes; these are customer, age, city"),
        (["--label", "city", "--task", "regression"], "regression needs numbers, and city has"),
        (["--task", "ranking"], "data.task: input should be"),
        (["--metric", "mae"], "metric mae does not fit multiclass labels; use accuracy, f1, f1_micro, f1_macro"),
        (["--kind", "age"], "--kind has the form COLUMN=KIND"),
        (["--kind", "age=number"], "age: unknown kind 'number'; did you mean numeric?"),
        (["--kind", "years=numeric"], "--kind names 'years', which is no column of the nodes"),
        (["--split-ratios", "0.5,0.6,0.1"], "three shares that sum to 1"),
        (["--split-ratios", "most"], "--split-ratios takes three shares"),
        (["--split-time", "joined"], "has no column 'joined', by which the split is to be cut"),
        (["--on-bad-rows", "keep"], "on_bad_rows"),
        (["--graph-file", "no.yaml", "--edges", "no.csv"], "there is no file"),
        (["--nodes", "x.csv"], "both name the data"),
        (["--set", "data.features=standard"], "would scale features a second time"),
    ],
)
def test_mistakes(tmp_path: Path, words: list[str], message: str) -> None:
    folder = shop(tmp_path / "shop", label=lambda i: [PLANS[i % 3]], n=200)
    assert message in refuse("train", f"{folder}/", *words, *TRAIN, "--out", tmp_path / "a")


def test_without_a_label(tmp_path: Path) -> None:
    error = refuse("train", f"{shop(tmp_path / 'shop')}/", *TRAIN, "--out", tmp_path / "a")
    assert "no column is the label; these could be labels: city (2 values)" in error
    assert "--label COLUMN" in error


def test_control_codes_of_tables_do_not_reach_the_terminal(tmp_path: Path) -> None:
    folder = shop(tmp_path / "shop", label=one_plan)
    path = folder / "nodes.csv"
    path.write_text(path.read_text().replace("age", "a\x1b[31mge"))
    assert "\x1b" not in succeed("train", f"{folder}/", *SMALL, "--epochs", 1, "--out", tmp_path / "a")
    assert "\x1b" not in refuse("train", f"{folder}/", "--kind", "\x1b[31m=numeric", *TRAIN, "--out", tmp_path / "b")


# --- numbers ------------------------------------------------------------------------------------------------------------


def test_numbers_are_trained_resumed_evaluated_and_predicted(tmp_path: Path) -> None:
    """Two targets in their own units, from tables to predictions for new nodes."""
    folder = shop(tmp_path / "shop", label=lambda i: [f"{1000 + 7.5 * i}", "" if i % 9 == 4 else f"{i / 1e4}"])
    shown = succeed("train", f"{folder}/", *TRAIN[:-1], "--out", tmp_path / "a")
    assert "label_0, label_1: predicted as numbers (regression)" in " ".join(shown.split())
    spec = yaml.safe_load((folder / "graph.yaml").read_text())
    assert spec["task"] == "regression"
    succeed("train", f"{folder}/", *SMALL, "--epochs", 3, "-q", "--resume", "--out", tmp_path / "a")
    result = RunFolder(tmp_path / "a").result()
    assert result is not None
    assert (result["metric"], result["epochs"]) == ("mae", 3)
    scores = json.loads(succeed("evaluate", tmp_path / "a", "--json"))
    assert scores["valid"] == result["valid"]
    new = shop(tmp_path / "new", seed=1, n=40)
    succeed("predict", tmp_path / "a", "--data", new, "--out", tmp_path / "p.csv")
    rows = rows_of(tmp_path / "p.csv")
    assert list(rows[0]) == ["customer", "predicted_label_0", "predicted_label_1", "split"]
    assert all(900 < float(row["predicted_label_0"]) < 1600 and abs(float(row["predicted_label_1"])) < 0.02 for row in rows)
    assert "no calibrated probabilities" in refuse("predict", tmp_path / "a", "--out", tmp_path / "q.csv", "--calibrate")


def test_whole_numbers_are_numbers_if_the_user_says_so(tmp_path: Path) -> None:
    folder = shop(tmp_path / "shop", label=lambda i: [i % 3])
    succeed("train", f"{folder}/", "--task", "regression", "--metric", "r2", *TRAIN, "--out", tmp_path / "a")
    result = RunFolder(tmp_path / "a").result()
    assert result is not None
    assert result["metric"] == "r2"
    spec = yaml.safe_load((folder / "graph.yaml").read_text())
    (folder / "graph.yaml").write_text(yaml.safe_dump(spec | {"task": "ranking"}))
    error = refuse("train", f"{folder}/", *TRAIN, "--out", tmp_path / "b")
    assert "task must be one of multiclass, binary, multilabel, regression" in error
