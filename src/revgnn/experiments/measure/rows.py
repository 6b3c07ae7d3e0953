"""Rows of a table with our memory beside the published one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from revgnn.experiments.measure.batch import TrainingBatch, training_batch
from revgnn.experiments.measure.step import StepMemory, step_memory
from revgnn.experiments.report.records import row_record
from revgnn.experiments.row import Row
from revgnn.train.config import RunConfig

GB = 1e9
"""Bytes. The paper does not say whether a GB is 10^9 or 2^30 bytes. With 10^9 our figures look larger beside the published ones."""


def measure_rows(rows: Iterable[Row], root: Path | None = None, device: str | None = None) -> Iterator[dict[str, Any]]:
    """Yield the record of each row with our memory, as soon as it is measured. Rows with one preset are measured once.

    Args:
        root: the folder that holds the data set, of which a batch is used; see `training_batch` for the default.
        device: "auto", "cpu" or "cuda"; default: that of the preset.

    Raises:
        ValueError: if the data set is not in `root`, the device is not available, or a row has labels as inputs.
    """
    rows = tuple(rows)
    for row in rows:
        if row.run.label_inputs:
            raise ValueError(
                f"{row.name} has labels as inputs, which a measured step is not given; train it instead (--train): "
                "a run measures its memory itself."
            )
    changes = {"data.root": None if root is None else str(root.absolute()), "device": device}
    changes = {key: value for key, value in changes.items() if value is not None}
    batches: dict[tuple[Any, ...], TrainingBatch] = {}
    measured: dict[str, StepMemory] = {}
    for row in rows:
        name = row.preset.name
        if name not in measured:
            run = row.run.replace(changes)
            key = _batch_key(run)
            if key not in batches:
                batches[key] = training_batch(run)
            measured[name] = step_memory(run, batches[key])
        yield measured_row_record(row, measured[name])


def measured_row_record(row: Row, memory: StepMemory) -> dict[str, Any]:
    """Return `row_record` with our measurement.

    Its further keys are `memory` (all of `StepMemory`), `memory_gb` (its peak), `times_less` (the published memory divided by ours;
    None if none is published) and `stored_gb` (our peak with every layer stored, as the paper trains residual networks).
    """
    published = row.published.memory_gb
    return {
        **row_record(row),
        "memory_gb": round(memory.peak_bytes / GB, 4),
        "times_less": None if published is None else round(published * GB / memory.peak_bytes, 2),
        "stored_gb": None if memory.stored_bytes is None else round(memory.stored_bytes / GB, 4),
        "memory": memory.as_dict(),
    }


def _batch_key(run: RunConfig) -> tuple[Any, ...]:
    """Return what the batch of a run depends on. With labels as inputs, or a teacher, there is more in it."""
    return (run.data, run.parts, run.seed, run.device, run.label_inputs > 0, run.distillation is not None)
