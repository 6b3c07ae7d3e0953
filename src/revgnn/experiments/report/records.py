"""Tables and rows as plain values, for JSON and for the command line to print."""

from __future__ import annotations

from typing import Any

from revgnn.experiments.figures import COMPARED, RESULTS, Figure, Published
from revgnn.experiments.row import Row, Table
from revgnn.experiments.tables import all_tables


def list_tables() -> list[dict[str, Any]]:
    """Return name, title, source and number of rows of every table."""
    return [{"name": t.name, "title": t.title, "source": t.source, "rows": len(t.rows)} for t in all_tables()]


def all_table_records() -> list[dict[str, Any]]:
    """Return every table with all of its rows."""
    return [table_record(table, [row_record(row) for row in table.rows]) for table in all_tables()]


def row_record(row: Row) -> dict[str, Any]:
    """Return one row: our network, the published numbers under `published`, and each as printed under `figures`."""
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
        **published_record(row.published),
    }


def published_record(published: Published) -> dict[str, Any]:
    """Return published figures as numbers by name (parameters as printed), and as a list with their sources."""
    numbers = {name: published.value(name) for name in RESULTS}
    return {
        "published": {**numbers, "parameters": published.parameters},
        "figures": [figure_record(figure) for figure in published.figures],
    }


def figure_record(figure: Figure) -> dict[str, Any]:
    """Return one figure: as printed, as a number, and where it is printed."""
    return {
        "figure": figure.name,
        "printed": figure.printed,
        "value": figure.value,
        "source": figure.source.place,
        "source_row": figure.source.row,
        "second_hand": figure.source.second_hand,
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
        "comparisons": [
            {"first": comparison.first, "second": comparison.second, **figure_record(comparison.figure)}
            for comparison in table.comparisons
        ],
        "others": [{"name": other.name, **published_record(other.published)} for other in table.others],
    }


SECOND_HAND = "* second-hand: known only from notes and code of others that list the figure."
"""What the mark of `mark` stands for."""


def mark(record: dict[str, Any], name: str) -> str:
    """Return the mark of a published figure, "*" if it is second-hand.

    Args:
        record: a row, or a network of others.
        name: of the figure.
    """
    return "*" if any(figure["second_hand"] for figure in record["figures"] if figure["figure"] == name) else ""


def memory_text(record: dict[str, Any]) -> str | None:
    """Return the published memory of a row in GB, marked; "> 32" or "OOM" if it ran out of memory; None if none is published."""
    published = record["published"]
    if published["out_of_memory_gb"] is not None:
        text = f"> {published['out_of_memory_gb']:.0f}"
    elif published["memory_gb"] is not None:
        text = f"{published['memory_gb']:.2f}"
    elif any(figure["printed"] == "OOM" for figure in record["figures"]):
        text = "OOM"
    else:
        return None
    return text + mark(record, "memory_gb")


def has_second_hand(records: list[dict[str, Any]]) -> bool:
    """Return whether one of the published figures is second-hand."""
    return any(figure["second_hand"] for record in records for figure in record["figures"])


def comparison_text(comparison: dict[str, Any]) -> str:
    """Return a comparison of `table_record` as a sentence."""
    sentence = COMPARED[comparison["figure"]].format(comparison["printed"])
    return f"{comparison['first']} and {comparison['second']}: {sentence} ({comparison['source']})."
