"""A table with the results of its trained networks, as plain values for JSON."""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import Any

from revgnn.experiments.report.records import row_record, table_record
from revgnn.experiments.report.summary import TrainedRow, summarise
from revgnn.experiments.row import Row
from revgnn.experiments.training.plan import Plan
from revgnn.experiments.training.runs import evaluated_views, finished_runs
from revgnn.train.config import RunConfig
from revgnn.train.sweeps import mean_and_std

_NOT_OF_THE_PROTOCOL = ("data.root", "data.download", "data.archive", "device", "preset", "seed")
"""Keys that say where a run was made, or that other parts of the record have."""


def trained_table_record(plan: Plan, failures: dict[str, str]) -> dict[str, Any]:
    """Return `table_record` with everything that is finished in the folder of the plan.

    Its further keys are `command`, `protocol` (settings that all networks share, by dotted key), `findings` (sentences made from
    the figures), `environments` (of the runs, each once) and `dates` (on which runs began). Each row further has

    - `network`: its name without the views and parts,
    - `result`: figures over all seeds; None if it is not finished,
    - `multi_view`: scores over its views and parts; None if it has none, or they are not computed,
    - `failed`: why it has no result; None if it has one, or was not trained.

    Args:
        failures: by name of the preset, why a network could not be trained.
    """
    finished = {preset: finished_runs(plan.runs(preset)) for preset in plan.configs}
    rows = []
    for row in plan.table.rows:
        preset = row.preset.name
        results = finished[preset]
        record = {**row_record(row), "network": _network_name(row), "result": None, "multi_view": None, "failed": None}
        if results is not None:
            record["result"] = _result(results)
            record["multi_view"] = _multi_view([path for _, path in plan.runs(preset)], row.views, row.parts)
        else:
            record["failed"] = failures.get(preset)
        rows.append(record)
    environments = [result["environment"] for results in finished.values() for result in results or ()]
    return {
        **table_record(plan.table, rows),
        "command": plan.command,
        "protocol": _shared_settings(list(plan.configs.values())),
        "findings": summarise([TrainedRow(record, plan.configs[record["preset"]]) for record in rows]),
        "dates": sorted({environment["date"] for environment in environments if "date" in environment}),
        "environments": _distinct([{k: v for k, v in e.items() if k != "date"} for e in environments]),
    }


def _network_name(row: Row) -> str:
    return row.name if row.views is None else row.name.partition(f"-V{row.views}-P{row.parts}")[0]


def _result(results: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "dataset": results[0]["dataset"],
        "metric": results[0]["metric"],
        "seeds": [r["seed"] for r in results],
        "test": mean_and_std([r["test"] for r in results if r["test"] is not None]),
        "valid": mean_and_std([r["valid"] for r in results]),
        "best_epochs": [r["best_epoch"] for r in results],
        "epochs": max(r["epochs"] for r in results),
        "parameters": results[0]["parameters"],
        "peak_bytes": max(r["peak_bytes"] for r in results),
        "seconds_per_epoch": _mean([r["seconds_per_epoch"] for r in results if r["seconds_per_epoch"] is not None]),
        "device": results[0]["device"],
        "folders": [r["folder"] for r in results],
    }


def _multi_view(paths: list[Path], views: int | None, parts: int | None) -> dict[str, Any] | None:
    if views is None or parts is None:
        return None
    scores = [known for path in paths if (known := evaluated_views(path, views, parts)) is not None]
    if len(scores) < len(paths):
        return None
    return {
        "test": mean_and_std([s["test"] for s in scores if s["test"] is not None]),
        "valid": mean_and_std([s["valid"] for s in scores]),
    }


def _shared_settings(configs: list[RunConfig]) -> dict[str, Any]:
    """Return the settings that all configurations have alike, by dotted key."""
    flat = [config.flat() for config in configs]
    first = {key: value for key, value in flat[0].items() if key not in _NOT_OF_THE_PROTOCOL}
    return {key: value for key, value in first.items() if all(key in f and f[key] == value for f in flat)}


def _mean(values: list[float]) -> float | None:
    return mean(values) if values else None


def _distinct(values: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [value for i, value in enumerate(values) if value not in values[:i]]
