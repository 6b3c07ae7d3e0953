"""Numbers and tables as text."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SIZE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*((?:[kKmMgGtT][iI]?)?[bB]?)")
"""A number, and a unit: B, kB, MB, GB, TB, or powers of 1024: KiB, MiB, GiB, TiB."""


def bytes_text(count: float) -> str:
    """Return a size with its unit, in powers of 1000: 1,500,000 -> "1.5 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def parse_bytes(text: str) -> float:
    """Return the bytes that a text such as "11GB", "500 MB" or "2.5GiB" means; a number alone is in bytes.

    Raises:
        ValueError: for anything else.
    """
    found = _SIZE.fullmatch(text.strip())
    number, unit = found.groups() if found else ("0", "")
    if float(number) <= 0:
        raise ValueError(f"a size is a number above 0 and a unit, such as 11GB, 500MB or 10GiB, got {text!r}.")
    prefix = unit[:1].upper()
    power = " KMGT".index(prefix) if prefix and prefix != "B" else 0
    return float(number) * (1024 if "i" in unit.lower() else 1000) ** power


def seconds_text(seconds: float | None) -> str:
    """Return a duration: 0.0123 -> "12 ms", 75 -> "1:15", 4000 -> "1:06:40"; "-" if it is not known."""
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def score_text(score: float | None) -> str:
    """Return a score with four digits, or "-"."""
    return "-" if score is None else f"{score:.4f}"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table with aligned columns: numbers to the right, text to the left."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(header), *cells]) for i in range(len(header))]
    right = [all(isinstance(row[i], int | float | None) for row in rows) for i in range(len(header))]

    def line(values: Sequence[str]) -> str:
        return "  ".join(v.rjust(w) if r else v.ljust(w) for v, w, r in zip(values, widths, right, strict=True)).rstrip()

    return "\n".join([line(header), line(["-" * w for w in widths]), *map(line, cells)])


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else str(value)
