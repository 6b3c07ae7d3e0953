"""Committed results: reading them, choosing the last of each kind, and saying where one comes from."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import Spread

Record = dict[str, Any]


def read(name: str, folder: Path) -> list[Record]:
    """Return the results of a benchmark in the order in which they were added, without those that were stopped.

    Raises:
        ValueError: if there is no file of results, or a line is no JSON.
    """
    path = folder / f"{name}.jsonl"
    if not path.exists():
        raise ValueError(f"there are no results {path}; run `python -m benchmarks {name}` first.")
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"line {number} of {path} is damaged: {error}; remove it.") from None
        if "stopped_by" not in record:
            found.append(record)
    return found


def last_of_each(records: Iterable[Record], kind: Callable[[Record], object]) -> list[Record]:
    """Return the last record of each kind, in the order in which the kinds first appear."""
    chosen: dict[object, Record] = {}
    for record in records:
        chosen[kind(record)] = record
    return list(chosen.values())


def origin(record: Record) -> str:
    """Return date, machine, versions and commit of a result, as a line of small print."""
    commit, _, dirty = (record["commit"] or "").partition("-")
    packages = record["packages"]
    threads = f"{record['threads']} thread{'s' if record['threads'] > 1 else ''}"
    words = [
        record["time"][:10],
        f"{record.get('cpu', record['device'])}, {threads}, load {record['load_average']:.1f} at the start",
        f"Python {record['python']}, torch {packages['torch']}, torch-geometric {packages['torch-geometric']}",
        f"commit {commit[:7]}{' with changes' if dirty else ''}" if commit else f"revgnn {packages['revgnn']}",
    ]
    return f"*{'; '.join(words)}*"


def origin_of_study(study: Record) -> str:
    """Return date, machine, versions and, if known, duration of a study or ablation, as a line of small print."""
    machine = study["environment"]
    commit, _, dirty = (machine["commit"] or "").partition("-")
    words = [
        machine["date"],
        f"{machine['device']}, {machine['threads']} thread{'s' if machine['threads'] > 1 else ''}",
        f"Python {machine['python']}, torch {machine['packages']['torch']}",
        f"commit {commit[:7]}{' with changes' if dirty else ''}" if commit else f"revgnn {study['revgnn']}",
    ]
    if "seconds" in study:
        words.append(f"{study['seconds'] / 60:.0f} minutes{'' if study['finished'] else '; not finished'}")
    return f"*{'; '.join(words)}*"


def notes_beside(file: Path) -> list[str]:
    """Return the paragraphs of about.txt beside the file of a study or ablation."""
    note = file.with_name("about.txt")
    return note.read_text(encoding="utf-8").strip().split("\n\n") if note.exists() else []


def network(run: Record) -> str:
    """Return convolution, norm, width and epochs of a run in words."""
    model = run["model"]
    aggregation = f" ({model['aggregation']})" if model["conv"] in ("gen", "sage") else ""
    return f"{model['conv']}{aggregation}, {model['norm']} norm, {model['channels']} channels, {run['epochs']} epochs"


def listed(values: Sequence[object]) -> str:
    """Return values with commas."""
    return ", ".join(map(str, values))


def filled(blocks: Iterable[str]) -> str:
    """Return a page of blocks, its prose in lines of at most 120 characters."""
    lines = [b if b.startswith(("|", "#", "!")) else textwrap.fill(b, 120, break_on_hyphens=False) for b in blocks]
    return "\n\n".join(lines) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def spread(values: Sequence[float] | dict[str, float], scale: float = 1.0) -> str:
    """Return "median (low to high)" of repeated measurements, or of their recorded spread; one measurement alone as it is."""
    found = Spread(values["median"], values["low"], values["high"]) if isinstance(values, dict) else Spread.of(values)
    found = Spread(*(scale * v for v in found))
    return (
        number(found.median) if found.low == found.high else f"{number(found.median)} ({number(found.low)} to {number(found.high)})"
    )


def number(value: float) -> str:
    """Return a number with three digits, or all digits before the point."""
    if value == 0:
        return "0"
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    return f"{value:#.3g}"


def megabytes(value: float | None) -> str:
    """Return bytes in units of 10^6 bytes; "not counted" for None."""
    return "not counted" if value is None else f"{value / 1e6:,.1f} MB"


def shape(record: Record) -> str:
    """Return the graph that was measured on."""
    return f"{record['nodes']:,} nodes, {record['edges']:,} edges"
