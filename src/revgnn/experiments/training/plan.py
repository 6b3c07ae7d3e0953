"""What is to be trained of a table, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from revgnn.experiments.compose import compose
from revgnn.experiments.row import Row, Table
from revgnn.train.config import RunConfig
from revgnn.train.sweeps import choose_seeds, choose_splits, planned_runs


@dataclass(frozen=True)
class Plan:
    """The training of some networks of a table.

    Attributes:
        table: the whole table. What other commands have trained in `out` is part of the table that is written.
        rows: the rows to train now.
        out: the folder of the table.
        configs: the configuration of each network of the table, by name of its preset.
        seeds: one run of each network per seed.
        command: the command that repeats the plan, for readers of the table. Folders are called DIR.
    """

    table: Table
    rows: tuple[Row, ...]
    out: Path
    configs: dict[str, RunConfig]
    seeds: tuple[int, ...]
    command: str

    @property
    def to_train(self) -> tuple[str, ...]:
        """The presets of `rows`, each once, in their order."""
        return tuple(dict.fromkeys(row.preset.name for row in self.rows))

    def runs(self, preset: str) -> list[tuple[RunConfig, Path]]:
        """Return configuration and folder of the run of each seed."""
        return planned_runs(self.configs[preset], self.out / preset, splits=self.splits(preset), seeds=self.seeds)

    def splits(self, preset: str) -> list[int | str]:
        """Return the splits to train on: the one of the preset."""
        return choose_splits(self.configs[preset], None)


def plan_table(
    table: Table,
    row_names: Sequence[str] = (),
    *,
    out: Path | None = None,
    epochs: int | None = None,
    seeds: str | None = None,
    root: Path | None = None,
    device: str | None = None,
) -> Plan:
    """Return the plan that a user asked for.

    Args:
        row_names: names of rows or of presets; none: all rows. A preset stands for all its rows.
        out: default: runs/paper-TABLE.
        epochs: instead of the epochs of the presets.
        seeds: such as "0,1,2"; default: those of the presets.
        root: the folder that holds the data.
        device: "auto", "cpu" or "cuda"; default: that of the presets.

    Raises:
        ConfigError, ValueError: for an unknown row, a table without networks, or a value out of range.
    """
    if not table.rows:
        raise ValueError(f"{table.name} has no networks as rows; there is nothing to train.")
    rows = _chosen_rows(table, row_names)
    folder = out or Path("runs") / f"paper-{table.name}"
    configs = {}
    for row in table.rows:
        teacher = None if row.teacher is None else folder / row.teacher.name
        changes = {"epochs": epochs, "device": device}
        configs[row.preset.name] = compose(preset=row.preset.name, root=root, teacher=teacher, changes=changes)
    return Plan(
        table=table,
        rows=rows,
        out=folder,
        configs=configs,
        seeds=tuple(choose_seeds(configs[rows[0].preset.name], seeds)),
        command=_command(table, row_names, {"--epochs": epochs, "--seeds": seeds, "--device": device}),
    )


def _chosen_rows(table: Table, names: Sequence[str]) -> tuple[Row, ...]:
    """Return all rows of the named networks and of their teachers, in the order of the table. No names: all rows."""
    if not names:
        return table.rows
    named = [table.row(name) for name in names]
    presets = {row.preset.name for row in named} | {row.teacher.name for row in named if row.teacher is not None}
    return tuple(row for row in table.rows if row.preset.name in presets)


def _command(table: Table, row_names: Sequence[str], options: dict[str, int | str | None]) -> str:
    rows = [f"--row {table.row(name).name}" for name in row_names]
    given = [f"{option} {value}" for option, value in options.items() if value is not None]
    return " ".join(["revgnn paper", table.name, "--train", *rows, *given, "--root DIR --out DIR"])
