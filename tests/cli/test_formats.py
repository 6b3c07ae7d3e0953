"""Graph files on the command line: training, predictions with ids, other graphs, labels beside edges, classes by name."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest

from tests.cli.test_commands import SMALL, refuse, succeed

TRAIN = [*SMALL, "--epochs", 1, "-q"]


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The karate club as GraphML and as an edge list, with a run on each."""
    folder = tmp_path_factory.mktemp("formats")
    graph: Any = nx.karate_club_graph()
    nx.write_graphml(graph, folder / "karate.graphml")
    nx.write_weighted_edgelist(graph, folder / "karate.txt")
    np.save(folder / "y.npy", [graph.nodes[node]["club"] for node in graph])
    np.save(folder / "x.npy", np.eye(34, dtype=np.float32))
    succeed("train", folder / "karate.graphml", "--label", "club", *TRAIN, "--out", folder / "a")
    succeed("train", folder / "karate.txt", "--label-file", folder / "y.npy", *TRAIN, "--out", folder / "b")
    return folder


def test_predictions_have_the_ids_of_the_file(folder: Path, tmp_path: Path) -> None:
    for run in ("a", "b"):
        succeed("predict", folder / run, "--out", tmp_path / f"{run}.csv")
        found = rows(tmp_path / f"{run}.csv")
        assert [row["id"] for row in found] == [str(node) for node in range(34)]
        assert {row["predicted"] for row in found} <= {"Mr. Hi", "Officer"}


def test_another_graph_is_read_like_the_first(folder: Path, tmp_path: Path) -> None:
    graph: Any = nx.karate_club_graph()
    graph.add_edge(3, 99, weight=2)
    del graph.nodes[0]["club"]
    nx.write_graphml(graph, tmp_path / "new.graphml")
    nx.write_weighted_edgelist(graph, tmp_path / "new.txt")
    for run, name in (("a", "new.graphml"), ("b", "new.txt")):
        succeed("predict", folder / run, "--data", tmp_path / name, "--out", tmp_path / f"{run}.csv")
        assert [row["id"] for row in rows(tmp_path / f"{run}.csv")] == [str(node) for node in graph]
    result = succeed("evaluate", folder / "a", "--data", tmp_path / "new.graphml")
    assert "rocauc" in result


def test_features_beside_edges(folder: Path, tmp_path: Path) -> None:
    options = ["--label-file", folder / "y.npy", "--node-features", folder / "x.npy"]
    text = succeed("train", folder / "karate.txt", *options, *SMALL, "--epochs", 1, "--out", tmp_path / "run")
    assert "34 node features" in text


def test_a_moved_run_finds_its_files(folder: Path, tmp_path: Path) -> None:
    for name in ("karate.txt", "y.npy"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    succeed("train", tmp_path / "karate.txt", "--label-file", tmp_path / "y.npy", *TRAIN, "--out", tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    for name in ("karate.txt", "y.npy", "karate.txt.yaml"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    succeed("predict", tmp_path / "run", "--root", tmp_path / "elsewhere", "--out", tmp_path / "p.csv")
    assert len(rows(tmp_path / "p.csv")) == 34


def test_what_is_refused(folder: Path, tmp_path: Path) -> None:
    assert "both name the data" in refuse("train", folder / "karate.txt", "--pyg", "KarateClub")
    assert "--edges FILE" in refuse("train", folder / "karate.txt", "--nodes", folder / "y.npy")
    assert "--label-file F.npy" in refuse("train", folder / "karate.txt", "--out", tmp_path / "run")
    assert "did you mean Planetoid" in refuse("train", "--pyg", "Planetod:Cora", "--out", tmp_path / "run")


def test_a_class_of_pytorch_geometric(real_data: Path, tmp_path: Path) -> None:
    options = ["--pyg", "Planetoid:Cora", "--root", real_data]
    assert "accuracy" in succeed("train", *options, *SMALL, "--epochs", 1, "-q", "--out", tmp_path / "run")
