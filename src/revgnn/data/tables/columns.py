"""What a cell means: missing, a number, a date, a truth value or a category."""

from __future__ import annotations

import contextlib
import functools
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa

from revgnn.data.tables.arrow import Column, is_date, is_number, is_text, pc, to_bool, to_float64

MISSING = ("", "NA", "N/A", "n/a", "na", "#N/A", "NaN", "nan", "NULL", "Null", "null", "None", "none", "<NA>", "NaT", "-", "?")
"""Cells that mean a missing value, except in columns of ids."""

TRUE = ("true", "t", "yes", "y", "1")
FALSE = ("false", "f", "no", "n", "0")

ISO = "iso"
"""The format of dates such as 2024-12-31, 2024-12-31 23:59:59.5 or 2024-12-31T23:59:59Z."""

_ISO = r"^\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:?\d{2})?)?$"
_ISO_WITH_ZONE = r"(Z|[+-]\d{2}:?\d{2})$"
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_LARGEST = 3.0e38
_SECONDS_A_DAY = 86_400.0


@dataclass(frozen=True)
class Values:
    """A column as numbers.

    Attributes:
        numbers: float64 (N,); NaN where the cell is missing or bad.
        bad: bool (N,): the cell is neither missing nor of the kind wanted.
    """

    numbers: np.ndarray
    bad: np.ndarray

    @property
    def missing(self) -> np.ndarray:
        """Cells without a usable value: bool (N,)."""
        return np.isnan(self.numbers)


def text_of(column: Column) -> Column:
    """Return a column as trimmed strings; null where the value is missing."""
    text = column if is_text(column) else pc.cast(column, pa.string())
    text = pc.utf8_trim_whitespace(text)
    return pc.if_else(pc.is_in(text, pa.array(MISSING)), pa.scalar(None, pa.string()), text)


def numbers_of(column: Column) -> Values:
    """Return a column of numbers. Text is read as a number with a decimal point. Infinite is bad."""
    if is_number(column) or pa.types.is_boolean(column.type):
        numbers = to_float64(column)
        bad = np.abs(numbers) > _LARGEST
        return Values(np.where(bad, np.nan, numbers), bad)
    if not is_text(column):
        return _all_bad(column)
    try:
        numbers = to_float64(pc.cast(column, pa.float64()))
    except pa.ArrowInvalid:
        text = text_of(column)
        is_number_text = pc.match_substring_regex(text, _NUMBER)
        digits = pc.utf8_ltrim(_only_where(text, is_number_text), characters="+")
        numbers = to_float64(_cast_or_null(digits, pa.float64()))
        bad = to_bool(pc.is_valid(text)) & np.isnan(numbers)
    else:
        bad = np.zeros(len(numbers), bool)
    too_large = np.abs(numbers) > _LARGEST
    return Values(np.where(too_large, np.nan, numbers), bad | too_large)


def booleans_of(column: Column) -> Values:
    """Return a column of truth values as 0 and 1."""
    if pa.types.is_boolean(column.type):
        return Values(to_float64(column), np.zeros(len(column), bool))
    if is_number(column):
        numbers = to_float64(column)
        bad = ~np.isnan(numbers) & (numbers != 0) & (numbers != 1)
        return Values(np.where(bad, np.nan, numbers), bad)
    if not is_text(column):
        return _all_bad(column)
    text = pc.utf8_lower(text_of(column))
    true, false = to_bool(pc.is_in(text, pa.array(TRUE))), to_bool(pc.is_in(text, pa.array(FALSE)))
    known = true | false
    return Values(np.where(known, true, np.nan), to_bool(pc.is_valid(text)) & ~known)


def dates_of(column: Column, form: str = ISO) -> Values:
    """Return a column of dates as days since 1970.

    Args:
        form: `ISO`, or a format of `strptime` such as %d.%m.%Y, for columns of text.
    """
    if is_date(column):
        micro = pc.cast(column, pa.timestamp("us", getattr(column.type, "tz", None)), safe=False)
        return Values(_days(micro), np.zeros(len(column), bool))
    if not is_text(column):
        return _all_bad(column)
    text = text_of(column)
    if form != ISO:
        numbers = _parsed_dates(text, form)
        return Values(numbers, to_bool(pc.is_valid(text)) & np.isnan(numbers))
    well_formed = pc.match_substring_regex(text, _ISO)
    has_zone = pc.match_substring_regex(text, _ISO_WITH_ZONE)
    numbers = _days(_cast_or_null(_only_where(text, well_formed, pc.invert(has_zone)), pa.timestamp("us")))
    if bool(pc.any(has_zone).as_py()):
        zoned = _days(_cast_or_null(_only_where(text, well_formed, has_zone), pa.timestamp("us", "UTC")))
        numbers = np.where(np.isnan(numbers), zoned, numbers)
    return Values(numbers, to_bool(pc.is_valid(text)) & np.isnan(numbers))


def categories_of(column: Column) -> pa.DictionaryArray:
    """Return a column as categories: int32 codes into distinct strings, null where the value is missing."""
    encoded = pc.dictionary_encode(text_of(column))
    return encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded


def _only_where(text: Column, *conditions: Column) -> Column:
    """Return the text where all conditions are true, else null."""
    wanted = functools.reduce(pc.and_, conditions)
    return pc.if_else(pc.fill_null(wanted, False), text, pa.scalar(None, pa.string()))


def _cast_or_null(text: Column, kind: pa.DataType) -> Column:
    """Return text as another type; null for null and for what that type cannot hold, such as 2023-02-30 or 1e400."""
    try:
        return pc.cast(text, kind)
    except pa.ArrowInvalid:
        if len(text) == 1:
            return pa.chunked_array([pa.nulls(1, kind)])
        half = len(text) // 2
        return pa.chunked_array([*_cast_or_null(text.slice(0, half), kind).chunks, *_cast_or_null(text.slice(half), kind).chunks])


def _days(times: Column) -> np.ndarray:
    """Return timestamps in microseconds as days since 1970; null is NaN."""
    return to_float64(pc.cast(times, pa.int64())) / (1e6 * _SECONDS_A_DAY)


def _parsed_dates(text: Column, form: str) -> np.ndarray:
    """Return dates in a format of `strptime` as days since 1970. Python's parser refuses 30.02.2024, which Arrow's does not."""
    encoded = pc.dictionary_encode(text).combine_chunks()
    days = np.full(len(encoded.dictionary) + 1, np.nan)
    for i, value in enumerate(encoded.dictionary.to_pylist()):
        with contextlib.suppress(ValueError):
            days[i] = (datetime.strptime(value, form).replace(tzinfo=None) - datetime(1970, 1, 1)).total_seconds() / _SECONDS_A_DAY
    return days[pc.fill_null(encoded.indices, len(encoded.dictionary)).to_numpy(zero_copy_only=False)]


def _all_bad(column: Column) -> Values:
    return Values(np.full(len(column), np.nan), to_bool(pc.is_valid(column)))
