"""A published table with our figures beside it, as plain values for JSON and for the command line to print."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revgnn.experiments.paper.rows import Row, Table
from revgnn.experiments.paper.tables import tables

if TYPE_CHECKING:
    from revgnn.experiments.paper.measure import StepMemory

GB = 1e9
"""Bytes. The paper does not say whether it means this or 2^30; this is the reading that is harder on us."""


def list_tables() -> list[dict[str, Any]]:
    """Name, title, source and size of every table."""
    return [{"name": t.name, "title": t.title, "source": t.source, "rows": len(t.rows)} for t in tables()]


def row_record(row: Row, memory: StepMemory | None = None) -> dict[str, Any]:
    """One row: what the network is, our figures, and under `published` the paper's.

    Args:
        memory: our measurement. With it come `memory` (all of `StepMemory`), `memory_gb` (its peak), `times_less` (the published
            memory over ours; None where none is published) and `stored_gb` (with every layer
            stored, as the paper has residual networks).
    """
    model = row.run.model
    record: dict[str, Any] = {
        "name": row.name,
        "preset": row.preset,
        "family": model.family,
        "tied": model.tied,
        "layers": None if model.family == "equilibrium" else model.depth,
        "channels": model.channels,
        "groups": model.groups,
        "views": row.views,
        "parts": row.parts,
        "teacher": row.teacher,
        "parameters": row.parameters,
        "published": asdict(row.published),
    }
    if memory is not None:
        published = row.published.memory_gb
        record["memory_gb"] = round(memory.peak_bytes / GB, 4)
        record["times_less"] = None if published is None else round(published * GB / memory.peak_bytes, 2)
        record["stored_gb"] = None if memory.stored_bytes is None else round(memory.stored_bytes / GB, 4)
        record["memory"] = memory.as_dict()
    return record


def table_record(table: Table, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A table with these rows."""
    return {
        "table": table.name,
        "title": table.title,
        "source": table.source,
        "metric": table.metric,
        "notes": list(table.notes),
        "rows": rows,
    }


def measure_rows(rows: Iterable[Row], root: Path | None = None, device: str | None = None) -> Iterator[dict[str, Any]]:
    """Records of rows with our memory, one after the other as each is measured. Rows that are one network are measured once.

    Args:
        root: where the data set lies; then a batch of it is used, else see `training_batch`.
        device: "auto", "cpu" or "cuda"; default: the preset's own.

    Raises:
        ValueError: if the data set is missing from `root`, the device is not there, or a row has labels as inputs.
    """
    from revgnn.experiments.paper.measure import TrainingBatch, step_memory, training_batch

    rows = tuple(rows)
    for row in rows:
        if row.run.label_inputs:
            raise ValueError(
                f"{row.name} has labels as inputs, which a measured step is not given; train it instead (--train): "
                "a run measures its memory itself."
            )
    batches: dict[tuple[Any, ...], TrainingBatch] = {}
    measured: dict[str, StepMemory] = {}
    for row in rows:
        if row.preset not in measured:
            run = row.run
            where = {"data.root": None if root is None else str(root.absolute()), "device": device}
            run = run.replace({key: value for key, value in where.items() if value is not None})
            # with labels as inputs, or a teacher, a batch has more in it
            key = (run.data, run.parts, run.seed, run.device, run.label_inputs > 0, run.distillation is not None)
            if key not in batches:
                batches[key] = training_batch(run)
            measured[row.preset] = step_memory(run, batches[key])
        yield row_record(row, measured[row.preset])
