"""Tables on the command line: their options, and the report of what was read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from revgnn.cli.text import line_width, table, wrapped

if TYPE_CHECKING:
    from revgnn.data.tables.report import ReadReport


def table_settings(
    edges: Path | None,
    graph_file: Path | None,
    label: list[str] | None,
    kind: list[str] | None,
    split_ratios: str | None,
    stratify: bool | None,
    split_time: str | None,
    on_bad_rows: str | None,
    label_file: Path | None,
    node_features: Path | None,
) -> dict[str, Any]:
    """Return the options of tables as settings of a run, by dotted key; None where an option is not given.

    Raises:
        ValueError: if an option cannot be read.
    """
    kinds = dict(map(_column_and_kind, kind)) if kind else None
    return {
        "data.edges": None if edges is None else str(edges),
        "data.graph_file": None if graph_file is None else str(graph_file),
        "data.labels": label or None,
        "data.kinds": kinds,
        "data.split_ratios": None if split_ratios is None else _ratios(split_ratios),
        "data.stratify": stratify,
        "data.split_time": split_time,
        "data.on_bad_rows": on_bad_rows,
        "data.label_file": None if label_file is None else str(label_file),
        "data.node_features": None if node_features is None else str(node_features),
    }


def bad_rows(choice: str | None) -> Literal["refuse", "drop"]:
    """Return what to do with bad rows; default: refuse.

    Raises:
        ValueError: for anything else.
    """
    if choice not in (None, "refuse", "drop"):
        raise ValueError(f"--on-bad-rows must be refuse or drop, got {choice!r}.")
    return "drop" if choice == "drop" else "refuse"


def report_text(report: ReadReport, written: Path | None) -> str:
    """Return what was read: a table with the use of each column, and lines on the rest.

    Args:
        written: the `graph.yaml` that was written for these tables, if any.
    """
    width = line_width()
    rows = []
    for column in report.columns:
        inputs, missing = column.features or None, column.missing or None
        rows.append((f"{column.table} {printable(column.name)}", column.kind, inputs, missing, printable(column.note)))
    used = table(("column", "used as", "inputs", "missing", "note"), rows, width)
    counts = f"{report.num_nodes:,} nodes of {report.nodes}, {report.num_edges:,} edges of {report.edges}"
    rest = list(rest_lines(report.dropped, report.notes))
    if written is not None:
        obeyed = "later runs obey it" if str(written) == report.spec else f"later runs obey it with --graph-file {written}"
        rest.append(f"written: {written}; change it where a column is used wrongly, {obeyed}")
    elif not report.spec_is_new:
        rest.append(f"columns are used as {report.spec} says")
    lines = [wrapped(counts, width, "  "), "", used, "", *(wrapped(line, width, "  ") for line in rest)]
    return "\n".join(lines) + "\n"


def read_lines(report: dict[str, Any]) -> Iterator[str]:
    """Yield lines on dropped rows and unknown categories in the report of `predict_run`; none if the data are no tables."""
    if "read" in report:
        notes = [note for note in report["read"]["notes"] if "category" in note]
        yield from rest_lines(report["read"]["dropped"], notes)


def rest_lines(dropped: dict[str, int], notes: Any) -> Iterator[str]:
    """Yield a line for each reason for dropped rows, and each note."""
    for reason, count in dropped.items():
        yield f"dropped: {count:,} rows, {printable(reason)}"
    for note in notes:
        yield f"note: {printable(note)}"


def printable(text: str) -> str:
    """Return text of a user's tables without control codes, which a terminal would obey."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _column_and_kind(text: str) -> tuple[str, str]:
    column, equals, kind = text.rpartition("=")
    if not equals or not column or not kind:
        raise ValueError(f"--kind has the form COLUMN=KIND, such as age=categorical, got {text!r}.")
    return column, kind


def _ratios(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--split-ratios takes three shares, such as 0.6,0.2,0.2, got {text!r}.") from None
