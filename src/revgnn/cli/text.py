"""Numbers and tables as text."""

from __future__ import annotations

import os
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from revgnn._text import bytes_text as bytes_text
from revgnn._text import score_text as score_text
from revgnn._text import seconds_text as seconds_text

_NARROWEST = 24
"""Characters that a column of text needs to be read with ease."""

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


def line_width(*, err: bool = False) -> int | None:
    """Return how many characters a line of the output may have: $COLUMNS, else the terminal's width; None in a file.

    Args:
        err: ask for stderr instead of stdout.
    """
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return int(columns)
    stream = sys.stderr if err else sys.stdout
    try:
        return os.get_terminal_size(stream.fileno()).columns or None if stream.isatty() else None
    except (OSError, ValueError, AttributeError):  # closed, or no file at all
        return None


def wrapped(text: str, width: int | None, indent: str = "") -> str:
    """Return text in lines of at most `width` characters, those after the first indented. Words longer than that stay whole."""
    if width is None or len(text) <= width:
        return text
    return textwrap.fill(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def flow(fields: Iterable[str], width: int | None, *, start: str = "", indent: str = "  ") -> str:
    """Return fields with two spaces between them, in as few lines as fit. A field is only broken if it is longer than a line.

    Args:
        start: of the first line.
        indent: of the others.
    """
    lines: list[str] = []
    for field in fields:
        if lines and (width is None or len(lines[-1]) + 2 + len(field) <= width):
            lines[-1] += f"  {field}"
        else:
            lines += wrapped((indent if lines else start) + field, width, indent + "  ").splitlines()
    return "\n".join(lines)


def facts(lines: Mapping[str, str], width: int | None = None) -> str:
    """Return a line for each name with its text; long texts go on below their beginning."""
    return "\n".join(wrapped(f"{name:<12} {text}", width, " " * 13) for name, text in lines.items())


def table(header: Sequence[str], rows: Sequence[Sequence[object]], width: int | None = None) -> str:
    """Return a table with aligned columns: numbers to the right, text to the left.

    If it does not fit into `width` characters, the last column is wrapped. If that is not enough, each row becomes a short
    paragraph: its first cell, then name and value of each other cell.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(header), *cells]) for i in range(len(header))]
    right = [all(isinstance(row[i], int | float | None) for row in rows) for i in range(len(header))]
    gaps = 2 * (len(widths) - 1)
    if width is not None and sum(widths) + gaps > width:
        room = width - sum(widths[:-1]) - gaps
        if right[-1] or room < _NARROWEST:
            return _paragraphs(header, rows, width)
        widths[-1] = room

    def line(values: Sequence[str]) -> str:
        parts = wrapped(values[-1], widths[-1]).splitlines() or [""]
        lines = [[*values[:-1], parts[0]], *([*[""] * (len(values) - 1), part] for part in parts[1:])]
        return "\n".join(map(one_line, lines))

    def one_line(values: Sequence[str]) -> str:
        return "  ".join(v.rjust(w) if r else v.ljust(w) for v, w, r in zip(values, widths, right, strict=True)).rstrip()

    return "\n".join([line(header), line(["-" * w for w in widths]), *map(line, cells)])


def _paragraphs(header: Sequence[str], rows: Sequence[Sequence[object]], width: int) -> str:
    """Return each row as its first cell, with name and value of each other cell that has one below it."""
    texts = []
    for first, *others in rows:
        named = zip(header[1:], others, strict=True)
        fields = [f"{name} {_cell(value)}".strip() for name, value in named if value is not None and value != ""]
        texts += [wrapped(_cell(first), width, "  "), flow(fields, width, start="  ")]
    return "\n".join(filter(None, texts))


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else str(value)
