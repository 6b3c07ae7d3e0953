"""Numbers and tables as text."""

from __future__ import annotations

import re
from collections.abc import Sequence

from revgnn._text import bytes_text as bytes_text
from revgnn._text import score_text as score_text
from revgnn._text import seconds_text as seconds_text

_SIZE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*((?:[kKmMgGtT][iI]?)?[bB]?)")
"""A number, and a unit: B, kB, MB, GB, TB, or powers of 1024: KiB, MiB, GiB, TiB."""


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
