"""A table of networks that train in a blink: two depths, a weight-tied one, and several views of the deeper one."""

from __future__ import annotations

import importlib

import pytest

from revgnn.experiments.paper import Published, Row, Table
from revgnn.experiments.presets import registry
from revgnn.models.config import ModelConfig
from revgnn.train.config import DataConfig, OptimConfig, RunConfig

TABLE = Table(
    "small",
    "Small networks",
    "the tests",
    (
        Row("Rev-2", "small-rev-2", Published("1k", 7.30, score=0.5)),
        Row("Rev-4", "small-rev-4", Published(out_of_memory_gb=32)),
        Row("WT-Rev-4", "small-wt-rev-4", Published()),
        Row("Rev-4-V1-P1", "small-rev-4", Published(), 1, 1),
        Row("Rev-4-V3-P1", "small-rev-4", Published(), 3, 1),
        Row("Rev-4-V1-P2", "small-rev-4", Published(score=0.61, score_std=0.01), 1, 2),
        Row("Rev-4-V3-P2", "small-rev-4", Published(), 3, 2),
    ),
    ("A note.",),
)
PRESETS = ("small-rev-2", "small-rev-4", "small-wt-rev-4")


def _run(depth: int, *, tied: bool = False) -> RunConfig:
    return RunConfig(
        data=DataConfig(name="synthetic:nodes=240,degree=8,tasks=3"),
        model=ModelConfig(depth=depth, channels=8, groups=2, tied=tied),
        optim=OptimConfig(lr=0.01),
        epochs=2,
        parts=2,
        device="cpu",
    )


def add_small_table(monkeypatch: pytest.MonkeyPatch, **changes: RunConfig) -> Table:
    """Make its presets known, and itself, in the place of humanppi; `changes` replace runs, with `_` for `-` in their names."""
    runs = {"small-rev-2": _run(2), "small-rev-4": _run(4), "small-wt-rev-4": _run(4, tied=True)}
    runs |= {name.replace("_", "-"): run for name, run in changes.items()}
    for name, run in runs.items():
        monkeypatch.setitem(registry._PRESETS, name, registry.Preset(name, lambda run=run: run, parameters=1))
    tables = importlib.import_module("revgnn.experiments.paper.tables")  # its name in the package is a function
    monkeypatch.setattr(tables, "_TABLES", (*tables._TABLES, TABLE))
    return TABLE
