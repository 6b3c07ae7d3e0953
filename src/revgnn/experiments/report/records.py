"""Tables and rows as plain values, for JSON and for the command line to print."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from revgnn.experiments.row import Row, Table
from revgnn.experiments.tables import all_tables


def list_tables() -> list[dict[str, Any]]:
    """Return name, title, source and number of rows of every table."""
    return [{"name": t.name, "title": t.title, "source": t.source, "rows": len(t.rows)} for t in all_tables()]


def row_record(row: Row) -> dict[str, Any]:
    """Return one row: our network, and the published figures under `published`."""
    model = row.run.model
    return {
        "name": row.name,
        "preset": row.preset.name,
        "family": model.family,
        "tied": model.tied,
        "layers": None if model.family == "equilibrium" else model.depth,
        "channels": model.channels,
        "groups": model.groups,
        "views": row.views,
        "parts": row.parts,
        "teacher": None if row.teacher is None else row.teacher.name,
        "parameters": row.parameters,
        "published": asdict(row.published),
    }


def table_record(table: Table, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a table with the records of its rows, or of some of them."""
    return {
        "table": table.name,
        "title": table.title,
        "source": table.source,
        "metric": table.metric,
        "notes": list(table.notes),
        "rows": rows,
    }
