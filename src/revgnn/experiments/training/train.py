"""Training the networks of a table one after the other, and writing the table after each.

Rows with one preset are one network: they share its runs and differ in how these are evaluated. Each network has the folder of a
sweep in `Plan.out`, named like its preset. What is finished there is not computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from revgnn.experiments.report.markdown import table_markdown
from revgnn.experiments.training.plan import Plan
from revgnn.experiments.training.runs import evaluate_views
from revgnn.experiments.training.trained_table import trained_table_record
from revgnn.files import write_json, write_text
from revgnn.stack import StateRangeError
from revgnn.train.datasets import load_dataset
from revgnn.train.run.events import Hook
from revgnn.train.run.folder import RunFolderError
from revgnn.train.run.optimization import Diverged
from revgnn.train.run.session import build_for, choose_device
from revgnn.train.sweeps import check_folders, sweep


class Stopped(Exception):
    """Stopped on request between two evaluations. What is finished is saved, and `resume` continues from there."""


def train_table(
    plan: Plan,
    *,
    resume: bool = False,
    overwrite: bool = False,
    hooks: Iterable[Hook] = (),
    should_stop: Callable[[], bool] = lambda: False,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Train every network of the plan, evaluate it by views and parts of its rows, and write `table.json` and `table.md`.

    The files are written to `plan.out` after each network. If a network diverges or does not fit into memory, the table says so,
    and the next network is trained.

    Args:
        resume: skip what is finished in `out`, and continue what is not.
        overwrite: train all networks of the plan again.
        tell: is called with a line of progress between two networks.

    Returns:
        The record in table.json; see `trained_table_record`.

    Raises:
        ValueError, OSError: for anything wrong with options, data or folders, before training starts.
        Interrupted, Stopped: on a request to stop, after the table so far is written.
    """
    _check(plan, resume=resume, overwrite=overwrite)
    plan.out.mkdir(parents=True, exist_ok=True)
    failures: dict[str, str] = {}
    record = {}
    hooks = tuple(hooks)
    for number, preset in enumerate(plan.to_train, start=1):
        tell(f"network {number} of {len(plan.to_train)}: {preset}")
        try:
            sweep(
                plan.configs[preset],
                plan.out / preset,
                splits=plan.splits(preset),
                seeds=plan.seeds,
                resume=resume,
                overwrite=overwrite,
                hooks=hooks,
                should_stop=should_stop,
            )
            record = _write(plan, failures)  # the evaluation that follows may take long, or be stopped
            _evaluate(plan, preset, should_stop)
        except (Diverged, StateRangeError, MemoryError, RuntimeError) as error:
            if not _is_failure_of_network(error):
                raise
            failures[preset] = " ".join(str(error).split())
            tell(f"{preset}: {failures[preset]}")
        record = _write(plan, failures)
    return record


def _check(plan: Plan, *, resume: bool, overwrite: bool) -> None:
    """Check folders, devices, data, and that each network fits its data set, before hours of training.

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
        config = plan.configs[preset]
        choose_device(config.device)
        if config.data not in datasets:
            datasets[config.data] = load_dataset(config.data)
        with torch.device("meta"):  # without memory and initial values
            build_for(config, datasets[config.data])


def _is_failure_of_network(error: Exception) -> bool:
    """Return whether this network failed, and others may not: it diverged, or it is too large for the memory.

    Any other `RuntimeError` is a bug. torch has no class of its own for too little memory on the CPU.
    """
    too_large = ("out of memory", "can't allocate memory")  # the words of torch on GPUs and on CPUs
    return not isinstance(error, RuntimeError) or any(words in str(error) for words in too_large)


def _evaluate(plan: Plan, preset: str, should_stop: Callable[[], bool]) -> None:
    for row in plan.table.rows:
        if row.preset.name != preset or row.views is None or row.parts is None:
            continue
        for _, folder in plan.runs(preset):
            if should_stop():
                raise Stopped(f"stopped between two evaluations of {preset}; what is finished is saved in {plan.out}.")
            evaluate_views(folder, plan.configs[preset], row.views, row.parts)


def _write(plan: Plan, failures: dict[str, str]) -> dict[str, Any]:
    record = trained_table_record(plan, failures)
    write_json(_table_file(plan), record)
    write_text(plan.out / "table.md", table_markdown(record))
    return record


def _table_file(plan: Plan) -> Path:
    return plan.out / "table.json"
