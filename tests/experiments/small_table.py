"""A table whose networks train within a second: two depths, a weight-tied one, and several views of the deeper one."""

from __future__ import annotations

import pytest

from revgnn.experiments import Preset, Published, Row, Table, tables
from revgnn.models.config import ModelConfig
from revgnn.train.config import DataConfig, OptimConfig, RunConfig

PRESETS = ("small-rev-2", "small-rev-4", "small-wt-rev-4")


def add_small_table(monkeypatch: pytest.MonkeyPatch, **changes: RunConfig) -> Table:
    """Add the table with its presets, or replace it. `changes` replace runs of presets, with `_` for `-` in their names."""
    table = _small_table({name.replace("_", "-"): run for name, run in changes.items()})
    others = (other for other in tables.all_tables() if other.name != table.name)
    monkeypatch.setattr(tables, "_TABLES", (*others, table))
    return table


def _small_table(changes: dict[str, RunConfig]) -> Table:
    def preset(name: str, depth: int, *, tied: bool = False) -> Preset:
        return Preset(name, "Small.", changes.get(name) or _run(depth, tied=tied), parameters=1)

    rev_2, rev_4, wt_rev_4 = preset(PRESETS[0], 2), preset(PRESETS[1], 4), preset(PRESETS[2], 4, tied=True)
    return Table(
        "small",
        "Small networks",
        "the tests",
        (
            Row("Rev-2", rev_2, Published("1k", 7.30, score=0.5)),
            Row("Rev-4", rev_4, Published(out_of_memory_gb=32)),
            Row("WT-Rev-4", wt_rev_4),
            Row("Rev-4-V1-P1", rev_4, views=1, parts=1),
            Row("Rev-4-V3-P1", rev_4, views=3, parts=1),
            Row("Rev-4-V1-P2", rev_4, Published(score=0.61, score_std=0.01), 1, 2),
            Row("Rev-4-V3-P2", rev_4, views=3, parts=2),
        ),
        ("A note.",),
    )


def _run(depth: int, *, tied: bool) -> RunConfig:
    return RunConfig(
        data=DataConfig(name="synthetic:nodes=240,degree=8,tasks=3"),
        model=ModelConfig(depth=depth, channels=8, groups=2, tied=tied),
        optim=OptimConfig(lr=0.01),
        epochs=2,
        parts=2,
        device="cpu",
    )
