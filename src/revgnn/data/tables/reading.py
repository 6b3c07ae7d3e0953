"""Read one table with pyarrow. Text stays text, so that ids are kept as they came and nothing is guessed block by block."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pa_parquet

from revgnn.data.tables.arrow import is_text, pc, to_bool
from revgnn.data.tables.files import table_format

MAX_ROW_BYTES = 16 << 20
"""A longer row is refused: most likely a quote was left open, or a file of another kind has a table's name."""

MAX_CELL_BYTES = 1 << 20

_MAX_HEADER_BYTES = 1 << 20
_DELIMITERS = ",;\t|"
_DAMAGED = (pa.ArrowException, OSError, EOFError, UnicodeDecodeError, zlib.error)


def read_table(path: Path, *, drop_bad_rows: bool = False) -> tuple[pa.Table, int]:
    """Return a table and the number of its rows that were dropped since they could not be read.

    Args:
        path: a file with one of `files.ENDINGS`. Cells of csv and tsv are strings; other formats keep their types.
        drop_bad_rows: drop rows with too many or too few cells, instead of raising.

    Raises:
        ValueError: if the file is empty or damaged, is not UTF-8, has two columns of one name, or (without `drop_bad_rows`) has a
            row that cannot be read; one line with the row's number, counted from 1 without the header.
    """
    kind = table_format(path)
    try:
        if kind in ("csv", "tsv"):
            table, dropped = _read_csv(path, "\t" if kind == "tsv" else None, drop_bad_rows)
        elif kind == "jsonl":
            table, dropped = _read_jsonl(path, drop_bad_rows)
        else:
            table, dropped = pa_parquet.ParquetFile(path, memory_map=True).read(), 0
    except _DAMAGED as error:
        raise ValueError(f"{path} cannot be read: {_plain(error)}") from None
    _check_names(path, table.column_names)
    table = _without_dictionaries(table)
    too_long = _rows_with_long_cells(table)
    if too_long is not None and not drop_bad_rows:
        row = int(too_long.argmax())
        raise ValueError(
            f"{path}, row {row + 1}: a cell is longer than {MAX_CELL_BYTES >> 20} MB; is this a table? Or drop such rows: "
            "--on-bad-rows drop."
        )
    if too_long is not None:
        table, dropped = table.filter(pa.array(~too_long)), dropped + int(too_long.sum())
    return table, dropped


def _plain(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "straddling" in text or "block size" in text:
        return f"a row is longer than {MAX_ROW_BYTES >> 20} MB; is a quote left open?"
    if "UTF8" in text or isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8; save it as UTF-8 (in spreadsheets: CSV UTF-8)."
    if "Empty" in text:
        return "it is empty; the first line must name the columns."
    return text[:300]


def _rows_with_long_cells(table: pa.Table) -> np.ndarray | None:
    """Return which rows have a longer cell than `MAX_CELL_BYTES`, bool (N,); None if there are none."""
    found = None
    for column in filter(is_text, table.columns):
        lengths = pc.binary_length(column)
        if (pc.max(lengths).as_py() or 0) > MAX_CELL_BYTES:
            bad = to_bool(pc.greater(lengths, MAX_CELL_BYTES))
            found = bad if found is None else found | bad
    return found


def _check_names(path: Path, names: list[str]) -> None:
    doubled = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if doubled:
        raise ValueError(f"{path} has several columns named {doubled[0][:80]!r}; rename all but one.")
    if not names:
        raise ValueError(f"{path} has no columns.")


def _without_dictionaries(table: pa.Table) -> pa.Table:
    """Return the table with dictionary columns as plain ones, and views and large strings as strings."""
    for i, field in enumerate(table.schema):
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            kind = pa.string()
        if kind != field.type:
            table = table.set_column(i, field.name, table.column(i).cast(kind))
    return table


# --- csv ----------------------------------------------------------------------------------------------------------------


def _read_csv(path: Path, delimiter: str | None, drop: bool) -> tuple[pa.Table, int]:
    header = _header(path)
    delimiter = delimiter or max(_DELIMITERS, key=header.count)
    names = next(csv.reader([header], delimiter=delimiter), [])
    _check_names(path, names)
    dropped = 0

    def skip(_row: Any) -> str:
        nonlocal dropped
        dropped += 1
        return "skip"

    def read(handler: Any, *, use_threads: bool) -> pa.Table:
        return pa_csv.read_csv(
            path,
            # One thread counts rows, which threads cannot.
            read_options=pa_csv.ReadOptions(block_size=MAX_ROW_BYTES, use_threads=use_threads),
            parse_options=pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=handler),
            convert_options=pa_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
        )

    try:
        table = read(skip if drop else None, use_threads=True)
    except pa.ArrowInvalid as error:
        if "columns, got" not in str(error):
            raise
        raise ValueError(_ragged(path, read)) from None
    _check_quotes(path, table)
    return table, dropped


def _header(path: Path) -> str:
    with _open(path) as file:
        head = file.read(_MAX_HEADER_BYTES)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError(f"{path} is UTF-16; save it as UTF-8 (in spreadsheets: CSV UTF-8).")
    line, newline, _ = head.partition(b"\n")
    if not newline and len(head) == _MAX_HEADER_BYTES:
        raise ValueError(f"{path}: the first line, which names the columns, is longer than 1 MB; is this a table?")
    if not line.strip():
        raise ValueError(f"{path} is empty; the first line must name the columns.")
    return line.decode("utf-8-sig").rstrip("\r")


def _ragged(path: Path, read: Any) -> str:
    """Return the message for the first row with too many or too few cells."""
    first: list[Any] = []

    def note(row: Any) -> str:
        first.append(row)
        return "error"

    with contextlib.suppress(pa.ArrowInvalid):
        read(note, use_threads=False)
    row = first[0]
    text = " ".join(row.text.split())[:60]
    return (
        f"{path}, row {row.number - 1}: {row.actual_columns} cells, but there are {row.expected_columns} columns ({text!r}); "
        "mend the row, quote cells that hold the delimiter, or drop such rows: --on-bad-rows drop."
    )


def _check_quotes(path: Path, table: pa.Table) -> None:
    """Raise `ValueError` if a quote was opened and never closed: the last cell then holds the rest of the file."""
    if table.num_rows == 0:
        return
    last = table.slice(table.num_rows - 1).to_pylist()[0]
    if any("\n" in (cell or "") for cell in last.values()) and not _ends_with_quote(path):
        raise ValueError(f"{path}, row {table.num_rows}: a quote is opened and never closed.")


def _ends_with_quote(path: Path) -> bool:
    """Return whether the last line holds a quote, as it does if the last row's quoted cell is closed."""
    tail = b""
    with _open(path) as file:
        while block := file.read(1 << 20):
            tail = (tail + block)[-MAX_ROW_BYTES:]
    return b'"' in tail.rstrip().rsplit(b"\n", 1)[-1]


# --- JSON lines ---------------------------------------------------------------------------------------------------------


def _read_jsonl(path: Path, drop: bool) -> tuple[pa.Table, int]:
    dropped = 0
    try:
        with _open(path) as file:
            table = _parse_json(file, None)
    except pa.ArrowInvalid as error:
        if "JSON parse error" not in str(error):
            raise
        if not drop:
            _, number, reason = next(_bad_lines(path), (b"", 0, _plain(error)))
            raise ValueError(f"{path}, row {number}: {reason}; mend it, or drop such rows: --on-bad-rows drop.") from None
        bad = {number for _, number, _ in _bad_lines(path)}
        with _open(path) as file:
            good = b"".join(line for number, line in enumerate(file, 1) if number not in bad)
        table, dropped = _parse_json(io.BytesIO(good), None), len(bad)
    # Arrow reads ISO dates as timestamps, which would change ids and categories that look like dates.
    times = [field.name for field in table.schema if pa.types.is_timestamp(field.type)]
    if times and not dropped:
        with _open(path) as file:
            table = _parse_json(file, pa.schema([(name, pa.string()) for name in times]))
    return table, dropped


def _parse_json(file: Any, schema: pa.Schema | None) -> pa.Table:
    options = pa_json.ReadOptions(block_size=MAX_ROW_BYTES)
    return pa_json.read_json(file, read_options=options, parse_options=pa_json.ParseOptions(explicit_schema=schema))


def _bad_lines(path: Path) -> Iterator[tuple[bytes, int, str]]:
    """Yield each line that is not an object, or in which a value has another type than before, with its number and the reason."""
    kinds: dict[str, str] = {}
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                yield line, number, "it is not JSON"
                continue
            if not isinstance(row, dict):
                yield line, number, 'it is not an object such as {"id": 1}'
                continue
            found = {key: _json_kind(value) for key, value in row.items() if value is not None}
            changed = [key for key, kind in found.items() if kinds.get(key, kind) != kind]
            if changed:
                key = changed[0]
                yield line, number, f"{key[:40]!r} is {found[key]}, but {kinds[key]} before"
                continue
            kinds |= found


def _json_kind(value: Any) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return names[type(value)]


def _open(path: Path) -> Any:
    return gzip.open(path, "rb") if path.name.casefold().endswith(".gz") else open(path, "rb")
