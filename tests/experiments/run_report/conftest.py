"""Runs that the tests of reports look at. Tests must not change them, but for what a report keeps in their folders."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from revgnn.train import RunConfig, train

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "gold & $silver$ </title>\u202egnp")
"""Labels that would run, load or hide something if a page took them for markup."""


def small(data: dict[str, object], **changes: object) -> RunConfig:
    """Return a small reversible run; `changes` are dotted keys with `__` for the dot."""
    model = {"family": "reversible", "depth": 3, "channels": 16, "groups": 2}
    config = RunConfig.parse({"data": data, "model": model, "epochs": 6, "device": "cpu", "optim": {"lr": 0.01}})
    return config.replace({key.replace("__", "."): value for key, value in changes.items()})


@pytest.fixture(scope="session")
def cora(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a real graph with seven classes."""
    folder = tmp_path_factory.mktemp("cora") / "a"
    train(small({"name": "Cora", "root": str(real_data)}), folder)
    return folder


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two depths under two gradient strategies, one of them with two seeds; several labels a node."""
    folder = tmp_path_factory.mktemp("study")
    data = {"name": "synthetic:nodes=200,degree=6,tasks=3"}
    for depth in (2, 4):
        for gradient, seeds in (("reversible", (0, 1)), ("backprop", (0,))):
            for seed in seeds:
                config = small(data, model__depth=depth, model__gradient=gradient, seed=seed, epochs=2)
                train(config, folder / f"{gradient}-{depth}-{seed}")
    return folder


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on tables whose labels, data set and folder have hostile names."""
    folder = tmp_path_factory.mktemp("hostile")
    tables = folder / "shop<img src=x>"
    tables.mkdir()
    rng = np.random.default_rng(0)
    values = rng.random((90, 2))
    with open(tables / "nodes.csv", "w", newline="", encoding="utf-8") as file:
        rows = [(f"c{i}", *row, HOSTILE[int(3 * row[0])]) for i, row in enumerate(values.tolist())]
        csv.writer(file).writerows([("customer", "a", "b", "plan"), *rows])
    with open(tables / "edges.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("buyer", "seller"), *((f"c{a}", f"c{b}") for a, b in rng.integers(0, 90, (300, 2)))])
    run = folder / "run<script>alert(2)<b>"
    train(small({"name": str(tables), "labels": ["plan"]}, epochs=2), run)
    return run


@pytest.fixture(scope="session")
def equilibrium(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that solves for an equilibrium."""
    folder = tmp_path_factory.mktemp("equilibrium") / "a"
    model = {"family": "equilibrium", "depth": 4, "channels": 8}
    data = {"name": "synthetic:nodes=200,degree=6,tasks=2"}
    train(RunConfig.parse({"data": data, "model": model, "epochs": 3, "device": "cpu"}), folder)
    return folder
