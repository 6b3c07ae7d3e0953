"""What the runs of a table came to: read from their folders alone, so that it is the same whichever command trained them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from revgnn.experiments.paper.findings import Network, findings
from revgnn.experiments.paper.report import row_record, table_record
from revgnn.experiments.paper.rows import Row, Table
from revgnn.files import write_json
from revgnn.train.config import RunConfig
from revgnn.train.inference.evaluate import evaluate_run
from revgnn.train.run.folder import RunFolder
from revgnn.train.sweeps import finished_result, mean_and_std

_EVALUATIONS = "evaluations.json"
_PLACE = ("data.root", "data.download", "device", "preset", "seed")
"""Keys that say where a run was made, or that are told elsewhere."""


@dataclass
class Outcome:
    """The runs of a table.

    Attributes:
        table: the table.
        command: what repeats it.
        runs: by preset, configuration and folder of each seed; finished or not.
        failures: by preset, why a network could not be trained.
    """

    table: Table
    command: str
    runs: dict[str, list[tuple[RunConfig, Path]]]
    failures: dict[str, str] = field(default_factory=dict)


# --- reading runs -------------------------------------------------------------------------------------------------------


def finished_runs(runs: Sequence[tuple[RunConfig, Path]]) -> list[dict[str, Any]] | None:
    """Results of all seeds with `folder` and `environment`, or None while one is missing or of another configuration."""
    results = []
    for config, path in runs:
        result = finished_result(config, path)
        folder = RunFolder(path)
        if result is None or folder.config().differences(config):
            return None
        environment = json.loads(folder.environment_file.read_text(encoding="utf-8"))
        results.append({"folder": f"{path.parent.name}/{path.name}", **result, "environment": environment})
    return results


def evaluate_views(path: Path, run: RunConfig, views: int, parts: int) -> dict[str, Any]:
    """Scores of a finished run's best weights by so many views and parts; kept in its folder and computed once.

    One part is the whole graph, of which there is one view.
    """
    views = views if parts > 1 else 1
    known = _known_evaluations(path)
    key = f"{views}x{parts}"
    if key not in known:
        root = None if run.data is None else run.data.root
        scores = evaluate_run(path, views=views, parts=parts, root=root, device=run.device)
        known[key] = {name: scores[name] for name in ("train", "valid", "test")}
        write_json(path / _EVALUATIONS, {"weights": _digest(path), "scores": known})
    return known[key]


def _known_evaluations(path: Path) -> dict[str, Any]:
    """Those of the weights that are there now: a run that was trained anew has none."""
    file = path / _EVALUATIONS
    if not file.exists():
        return {}
    saved = json.loads(file.read_text(encoding="utf-8"))
    return saved["scores"] if saved["weights"] == _digest(path) else {}


def _digest(path: Path) -> str:
    return hashlib.sha256(RunFolder(path).best_file.read_bytes()).hexdigest()


# --- the record ---------------------------------------------------------------------------------------------------------


def trained_table_record(outcome: Outcome) -> dict[str, Any]:
    """The table with all that is finished, ready for JSON.

    To what `table_record` has come `command`, `protocol` (what all networks have in common, by dotted key), `findings` (sentences
    made from the figures), `environments` (what the runs were made with, each once), the `dates` they began and, for each row,

    - `network`: its name without what says how it is evaluated,
    - `result`: figures over the seeds; None if it is not finished,
    - `multi_view`: scores as the row has them made; None if it is scored as its run is, or not finished,
    - `failed`: why it has no result, or None.
    """
    finished = {preset: finished_runs(runs) for preset, runs in outcome.runs.items()}
    rows = []
    for row in outcome.table.rows:
        results = finished[row.preset]
        record = {**row_record(row), "network": _network_name(row), "result": None, "multi_view": None, "failed": None}
        if results is not None:
            record["result"] = _result(results)
            record["multi_view"] = _multi_view([path for _, path in outcome.runs[row.preset]], row.views, row.parts)
        else:
            record["failed"] = outcome.failures.get(row.preset)
        rows.append(record)
    environments = [result["environment"] for results in finished.values() for result in results or ()]
    configs = {preset: runs[0][0] for preset, runs in outcome.runs.items()}
    networks = [Network(record, configs[record["preset"]]) for record in rows]
    return {
        **table_record(outcome.table, rows),
        "command": outcome.command,
        "protocol": _in_common(list(configs.values())),
        "findings": findings(networks),
        "dates": sorted({environment["date"] for environment in environments if "date" in environment}),
        "environments": _distinct([{k: v for k, v in e.items() if k != "date"} for e in environments]),
    }


def _network_name(row: Row) -> str:
    return row.name if row.views is None else row.name.removesuffix(f"-V{row.views}-P{row.parts}")


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
        "seconds_per_epoch": mean(r["seconds_per_epoch"] for r in results),
        "device": results[0]["device"],
        "folders": [r["folder"] for r in results],
    }


def _multi_view(paths: list[Path], views: int | None, parts: int | None) -> dict[str, Any] | None:
    if views is None or parts is None:
        return None
    key = f"{views if parts > 1 else 1}x{parts}"
    scores = [known[key] for known in map(_known_evaluations, paths) if key in known]
    if len(scores) < len(paths):
        return None
    return {
        "test": mean_and_std([s["test"] for s in scores if s["test"] is not None]),
        "valid": mean_and_std([s["valid"] for s in scores]),
    }


def _in_common(configs: list[RunConfig]) -> dict[str, Any]:
    """What all configurations agree on, by dotted key."""
    flat = [config.flat() for config in configs]
    first = {key: value for key, value in flat[0].items() if key not in _PLACE}
    return {key: value for key, value in first.items() if all(key in f and f[key] == value for f in flat)}


def _distinct(values: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [value for i, value in enumerate(values) if value not in values[:i]]
