"""depth.json: the plan of a study, what was chosen and measured, and what follows. Tables and pages are made from it alone.

It is collected from the folders of the runs, so that it can be written at any time, and by several processes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from revgnn._version import __version__
from revgnn.data.tasks import LARGER_IS_BETTER
from revgnn.experiments.depth.plan import Cell, Plan
from revgnn.experiments.depth.statistics import LEVEL, Mean
from revgnn.experiments.depth.verdict import between_families, differences, scores_of, verdict
from revgnn.experiments.run_files.studies import NAME, VERSION, read_study
from revgnn.experiments.tune.record import Record
from revgnn.files import write_json
from revgnn.train.config import RunConfig
from revgnn.train.config.errors import ConfigError
from revgnn.train.run.folder import RunFolder, RunFolderError

CHOOSE, RUNS, REASONS, LOCKS = "choose", "runs", "reasons", "locks"
"""Folders of a study: searches, runs that are compared, what is computed from their weights, and locks of what is going on."""

ONE_DEPTH = "There is one depth only, so that none can be compared."
"""What a study of one depth says of it."""

FAILED = "failed.json"
"""File in the folder of a run or search that cannot be trained, with the reason."""


def read(out: Path) -> dict[str, Any] | None:
    """Return the content of depth.json; None if there is none.

    Raises:
        RunFolderError: if it is damaged, or of another version.
    """
    try:
        values = read_study(out)
    except ConfigError as error:
        raise RunFolderError(str(error)) from None
    if values is None:
        return None
    try:
        RunConfig.parse(values["run"])
        plan_of(values)
        float(values["seconds"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise RunFolderError(f"{out / NAME} is damaged ({error}); make the study in another folder.") from None
    return values


def plan_of(values: Mapping[str, Any]) -> Plan:
    """Return the plan in depth.json."""
    return Plan(**{name: tuple(items) for name, items in values["plan"].items()})


def write(out: Path, base: RunConfig, plan: Plan, seconds: float) -> dict[str, Any]:
    """Collect what the folders of a study hold, write it to depth.json, and return it.

    Args:
        seconds: spent so far.
    """
    cells = [_cell(out, cell, plan) for cell in plan.cells()]
    results = [run for cell in cells for run in cell["runs"]]
    metric = next((run["metric"] for run in results), None)
    larger = LARGER_IS_BETTER.get(metric or "", True)
    part = "test" if results and all(run["test"] is not None for run in results) else "valid"
    families = {family: _compare(family, cells, part, larger_is_better=larger) for family in plan.families}
    if len(plan.depths) == 1:
        families = {family: {**each, "verdict": ONE_DEPTH} for family, each in families.items()}
    values = {
        "version": VERSION,
        "revgnn": __version__,
        "data": None if base.data is None else base.data.name,
        "metric": metric,
        "larger_is_better": larger,
        "compared": part,
        "level": LEVEL,
        "plan": {name: list(items) for name, items in asdict(plan).items()},
        "run": _without_paths(base).model_dump(mode="json"),
        "environment": _environment(out, cells),
        "seconds": round(seconds, 1),
        "finished": all(_is_finished(out, cell, plan) for cell in plan.cells()),
        "families": families,
        "between_families": [d.as_dict() for d in between_families(cells, part, larger_is_better=larger)],
        "cells": cells,
        "graph": _read_reasons(out, "graph"),
    }
    write_json(out / NAME, values)
    return values


def run_folder(out: Path, cell: Cell, split: int | str, seed: int) -> Path:
    """Return the folder of a run; those of a cell are together as the runs of a sweep."""
    return out / RUNS / cell.name / RunFolder.name_in_sweep(split, seed)


def failure(folder: Path) -> str | None:
    """Return why a run or a search cannot be trained; None if nothing is known against it."""
    try:
        return str(json.loads((folder / FAILED).read_text(encoding="utf-8"))["error"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def chosen(out: Path, cell: Cell, plan: Plan) -> dict[str, float] | None:
    """Return the settings that were chosen for a cell by dotted key; None if the choice is not made yet, or was not possible."""
    candidates = plan.candidates()
    if len(candidates) == 1:
        return dict(candidates[0].changes)
    search = Record.read(out / CHOOSE / cell.name)
    best = search.best() if search is not None and search.finished else None
    return None if best is None else next(dict(c.changes) for c in candidates if c.name == best.name)


def no_choice(out: Path, cell: Cell) -> bool:
    """Return whether none of the candidates of a cell could be trained, so that nothing of it can."""
    search = Record.read(out / CHOOSE / cell.name)
    return failure(out / CHOOSE / cell.name) is not None or (search is not None and search.finished and search.best() is None)


def best_run(out: Path, cell: Cell, plan: Plan) -> str | None:
    """Return the run of a cell with the best validation score, by its folder below `out`; None before the first has ended."""
    folders = [run_folder(out, cell, *pair) for pair in plan.pairs()]
    results = [(folder, result) for folder in folders if (result := RunFolder(folder).result()) is not None]
    if not results:
        return None
    sign = 1 if LARGER_IS_BETTER[results[0][1]["metric"]] else -1
    return max(results, key=lambda each: sign * each[1]["valid"])[0].relative_to(out).as_posix()


def reasons_file(out: Path, name: str) -> Path:
    """Return the file with the reasons of a cell, or of "graph"."""
    return out / REASONS / f"{name}.json"


def has_reasons(out: Path, cell: Cell, plan: Plan) -> bool:
    """Return whether the best run of a cell has been looked into, or there is none."""
    best = best_run(out, cell, plan)
    return best is None or (_read_reasons(out, cell.name) or {}).get("run") == best


def _without_paths(base: RunConfig) -> RunConfig:
    """Return the run without the folders of this machine, which make no other run."""
    if base.data is None:
        return base
    return base.model_copy(update={"data": base.data.model_copy(update={"root": None, "archive": None})})


def _cell(out: Path, cell: Cell, plan: Plan) -> dict[str, Any]:
    search = Record.read(out / CHOOSE / cell.name)
    changes = {c.name: c.changes for c in plan.candidates()}
    trials = [] if search is None else [{**changes[t.name], **asdict(t)} for t in search.trials]
    runs, failed = [], []
    for split, seed in plan.pairs():
        folder = run_folder(out, cell, split, seed)
        result = RunFolder(folder).result()
        if result is not None:
            runs.append({"folder": folder.relative_to(out).as_posix(), **result})
        elif (error := failure(folder)) is not None:
            failed.append({"split": split, "seed": seed, "error": error})
    error = failure(out / CHOOSE / cell.name)
    choice = chosen(out, cell, plan)
    if no_choice(out, cell) and error is None:
        error = "no candidate could be trained"
    return {
        "family": cell.family,
        "depth": cell.depth,
        "candidates": trials,
        "chosen": choice,
        "error": error,
        "valid": _mean([run["valid"] for run in runs]),
        "test": _mean([run["test"] for run in runs if run["test"] is not None]),
        "parameters": runs[0]["parameters"] if runs else None,
        "peak_bytes": max((run["peak_bytes"] for run in runs), default=None),
        "seconds_per_epoch": median(seconds) if (seconds := [s for run in runs if (s := run["seconds_per_epoch"])]) else None,
        "runs": runs,
        "failed": failed,
        "reasons": _read_reasons(out, cell.name),
    }


def _mean(values: list[float]) -> dict[str, Any] | None:
    mean = Mean.of(values)
    return None if mean is None else asdict(mean)


def _is_finished(out: Path, cell: Cell, plan: Plan) -> bool:
    folders = [run_folder(out, cell, *pair) for pair in plan.pairs()]
    trained = all(folder.joinpath("result.json").exists() or failure(folder) is not None for folder in folders)
    return no_choice(out, cell) or (trained and has_reasons(out, cell, plan))


def _compare(family: str, cells: list[dict[str, Any]], part: str, *, larger_is_better: bool) -> dict[str, Any]:
    found = differences(scores_of(family, cells, part), larger_is_better=larger_is_better)
    return {"verdict": verdict(found), "differences": [d.as_dict() for d in found]}


def _environment(out: Path, cells: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return machine and versions of the first run; None before it has begun."""
    for run in _all_runs(cells):
        try:
            return json.loads((out / run["folder"] / "environment.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
    return None


def _all_runs(cells: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    return (run for cell in cells for run in cell["runs"])


def _read_reasons(out: Path, name: str) -> dict[str, Any] | None:
    try:
        return json.loads(reasons_file(out, name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
