"""Training the networks of a table one after the other, and writing the table down after each.

Rows that are one network (they name one preset) share its runs and differ in how these are evaluated. Every network has a sweep's
folder below `out`, called like its preset; what is finished there is not computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from revgnn.experiments.paper.markdown import table_markdown
from revgnn.experiments.paper.outcome import Outcome, evaluate_views, trained_table_record
from revgnn.experiments.paper.rows import Row, Table
from revgnn.experiments.presets.compose import compose
from revgnn.files import write_json, write_text
from revgnn.stack import StateRangeError
from revgnn.train.config import RunConfig
from revgnn.train.datasets import load_dataset
from revgnn.train.run.events import Hook
from revgnn.train.run.folder import RunFolderError
from revgnn.train.run.precision import Diverged
from revgnn.train.run.session import build_for, choose_device
from revgnn.train.sweeps import check_folders, choose_seeds, planned_runs, sweep


class Stopped(Exception):
    """It was asked to stop while nothing was being trained; what is finished is in `out`, and `resume` goes on from there."""


@dataclass(frozen=True)
class Plan:
    """What is to be trained, and where.

    Attributes:
        table: the whole of it; what other commands finished in `out` stays part of what is written.
        rows: those to train now.
        out: the folder of the table.
        networks: by preset, for every row of the table, the configuration of its run.
        seeds: of each network's runs.
        command: what repeats it, for the reader of the table: folders are called DIR.
    """

    table: Table
    rows: tuple[Row, ...]
    out: Path
    networks: dict[str, RunConfig]
    seeds: tuple[int, ...]
    command: str

    @property
    def to_train(self) -> tuple[str, ...]:
        """The presets of `rows`, each once, in their order."""
        return tuple(dict.fromkeys(row.preset for row in self.rows))

    def runs(self, preset: str) -> list[tuple[RunConfig, Path]]:
        """Configuration and folder of each seed."""
        run = self.networks[preset]
        split = 0 if run.data is None else run.data.split
        return planned_runs(run, self.out / preset, splits=[split], seeds=self.seeds)


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
    """The training that was asked for.

    Args:
        row_names: rows, or their presets; none: all rows. A preset stands for all its rows.
        out: default: runs/paper-TABLE.
        epochs: in place of the presets' own.
        seeds: such as "0,1,2"; default: the presets' own.

    Raises:
        ConfigError, ValueError: for a row that is not there, a table without networks, or values out of range.
    """
    if not table.rows:
        raise ValueError(f"{table.name} has no networks as rows; there is nothing to train.")
    rows = _chosen(table, row_names)
    folder = out or Path("runs") / f"paper-{table.name}"
    teachers = {row.preset: None if row.teacher is None else folder / row.teacher for row in table.rows}
    networks = {
        preset: compose(preset=preset, root=root, epochs=epochs, device=device, teacher=teacher)
        for preset, teacher in teachers.items()
    }
    options = {"--epochs": epochs, "--seeds": seeds, "--device": device}
    words = [
        *(f"--row {row.name}" for row in (table.row(name) for name in row_names)),
        *(f"{option} {value}" for option, value in options.items() if value is not None),
        "--root DIR --out DIR",
    ]
    return Plan(
        table=table,
        rows=rows,
        out=folder,
        networks=networks,
        seeds=tuple(choose_seeds(networks[rows[0].preset], seeds)),
        command=" ".join(["revgnn paper", table.name, "--train", *words]),
    )


def train_table(
    plan: Plan,
    *,
    resume: bool = False,
    overwrite: bool = False,
    hooks: Iterable[Hook] = (),
    should_stop: Callable[[], bool] = lambda: False,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Train every network of the plan, evaluate it as its rows have it, and write `out/table.json` and `out/table.md` after each.

    A network that diverges or does not fit into memory is noted as such, and the next one is trained.

    Args:
        resume: skip what is finished in `out`, go on with what is not.
        overwrite: train anew what the plan trains.
        tell: given a line between two networks.

    Returns:
        The record that is table.json; see `revgnn.experiments.paper.outcome.trained_table_record`.

    Raises:
        ValueError, OSError: anything wrong with options, data or folders, before training starts.
        Interrupted, Stopped: asked to stop; the table so far is written.
    """
    check(plan, resume=resume, overwrite=overwrite)
    plan.out.mkdir(parents=True, exist_ok=True)
    outcome = Outcome(plan.table, plan.command, {preset: plan.runs(preset) for preset in plan.networks})
    record = {}
    hooks = tuple(hooks)
    for number, preset in enumerate(plan.to_train, start=1):
        tell(f"network {number} of {len(plan.to_train)}: {preset}")
        run, split = plan.networks[preset], plan.runs(preset)[0][0].data
        assert split is not None  # `check` loaded it
        try:
            sweep(
                run,
                plan.out / preset,
                splits=[split.split],
                seeds=plan.seeds,
                resume=resume,
                overwrite=overwrite,
                hooks=hooks,
                should_stop=should_stop,
            )
            record = _write(plan, outcome)  # evaluating may take long, or be stopped
            _evaluate(plan, preset, should_stop)
        except (Diverged, StateRangeError, MemoryError, RuntimeError) as error:
            if not _is_the_networks(error):
                raise
            outcome.failures[preset] = " ".join(str(error).split())
            tell(f"{preset}: {outcome.failures[preset]}")
        record = _write(plan, outcome)
    return record


def check(plan: Plan, *, resume: bool, overwrite: bool) -> None:
    """Find out what can go wrong before hours are spent: folders, device, data, and whether each network fits its data set.

    Raises:
        ValueError, OSError: with what to do about it.
    """
    for preset in plan.to_train:
        check_folders(plan.runs(preset), resume=resume, overwrite=overwrite)
    if _table_file(plan).exists() and not (resume or overwrite):
        raise RunFolderError(
            f"{plan.out} holds a table already; add to it by --resume, train its networks anew by --overwrite, "
            "or choose another --out."
        )
    datasets = {}
    for preset in plan.to_train:
        run = plan.networks[preset]
        choose_device(run.device)
        if run.data not in datasets:
            datasets[run.data] = load_dataset(run.data)
        with torch.device("meta"):  # neither memory nor initial values
            build_for(run, datasets[run.data])


def _chosen(table: Table, names: Sequence[str]) -> tuple[Row, ...]:
    """The rows of the networks that were named and of their teachers, in the table's order, which has teachers first: who trains a
    network gets all rows it makes."""
    named = [table.row(name) for name in names]
    presets = {row.preset for row in named} | {row.teacher for row in named}
    return tuple(row for row in table.rows if not names or row.preset in presets)


def _is_the_networks(error: Exception) -> bool:
    """Whether one network failed by what it is, which says nothing about the next: it diverged, or is too large for the memory."""
    too_large = ("out of memory", "can't allocate memory")  # as torch words it for GPUs and CPUs
    return not isinstance(error, RuntimeError) or any(words in str(error) for words in too_large)


def _evaluate(plan: Plan, preset: str, should_stop: Callable[[], bool]) -> None:
    for row in plan.table.rows:
        if row.preset != preset or row.views is None or row.parts is None:
            continue
        for _, folder in plan.runs(preset):
            if should_stop():
                raise Stopped(f"stopped between two evaluations of {preset}; what is finished is saved in {plan.out}.")
            evaluate_views(folder, plan.networks[preset], row.views, row.parts)


def _write(plan: Plan, outcome: Outcome) -> dict[str, Any]:
    record = trained_table_record(outcome)
    write_json(_table_file(plan), record)
    write_text(plan.out / "table.md", table_markdown(record))
    return record


def _table_file(plan: Plan) -> Path:
    return plan.out / "table.json"
