"""What is logged of a run, under which names. Every logger uses the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from revgnn.train.run.events import EpochEnded, Started
from revgnn.train.run.result import Result

_NO_HYPERPARAMETERS = ("notes", "data.root", "data.download", "data.archive")


def hyperparameters(event: Started) -> dict[str, bool | int | float | str]:
    """Return the settings of a run by dotted key, and what is known of its network and data. Lists and null are text."""
    found: dict[str, bool | int | float | str] = {}
    for key, value in _dotted(event.config.model_dump(mode="json")).items():
        if not any(key == name or key.startswith(f"{name}.") for name in _NO_HYPERPARAMETERS):
            found[key] = value if isinstance(value, bool | int | float | str) else json.dumps(value)
    return {**found, "parameters": event.parameters, "metric": event.metric, "used_device": event.device}


def epoch_values(event: EpochEnded, metric: str) -> dict[str, float]:
    """Return the metrics of an epoch; those that it does not have are left out."""
    values: dict[str, float | None] = {
        "loss": event.loss,
        **{f"{part}/{metric}": getattr(event, part) for part in ("train", "valid", "test")},
        "seconds/training": event.seconds,
        "seconds/evaluation": event.evaluation_seconds,
        "memory/peak_bytes": event.peak_bytes,
        "skipped_steps": event.skipped_steps,
    }
    if event.solves is not None:
        values["solves/failures"] = event.failed_solves
    return {name: float(value) for name, value in values.items() if value is not None}


def result_values(result: Result) -> dict[str, float]:
    """Return the scores of the best epoch, and what the run cost."""
    values = {
        **{f"best/{part}": getattr(result, part) for part in ("train", "valid", "test")},
        "best/epoch": result.best_epoch,
        "seconds/epoch": result.seconds_per_epoch,
        "memory/peak_bytes": result.peak_bytes,
    }
    return {name: float(value) for name, value in values.items() if value is not None}


def _dotted(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _dotted(value, f"{before}{key}.") if isinstance(value, Mapping) and value else {f"{before}{key}": value}
    return flat
