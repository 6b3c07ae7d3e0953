"""Ids of any type: compared in one form, kept as they came."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from revgnn.data.tables.arrow import Column, is_text, pc, to_bool, to_float64

_EXACT = 2.0**53


def canonical(column: Column) -> Column:
    """Return ids in the form in which they are compared: int64, or strings exactly as written.

    Whole numbers stored as floats become integers.

    Raises:
        ValueError: for floats that are not whole or too large to be exact, and for types that cannot be ids.
    """
    if is_text(column):
        return column
    kind = column.type
    if pa.types.is_floating(kind):
        numbers = to_float64(column)
        known = numbers[~np.isnan(numbers)]
        if not ((known == np.trunc(known)) & (np.abs(known) < _EXACT)).all():
            bad = known[(known != np.trunc(known)) | (np.abs(known) >= _EXACT)][0]
            raise ValueError(f"{bad!r} is not an id; ids are text or whole numbers below 2^53 (write larger ones as text).")
        return pc.cast(column, pa.int64())
    if pa.types.is_integer(kind):
        return pc.cast(column, pa.string()) if pa.types.is_uint64(kind) else pc.cast(column, pa.int64())
    if pa.types.is_null(kind):
        return pc.cast(column, pa.string())
    raise ValueError(f"a column of {kind} cannot be ids; ids are text or whole numbers.")


def common_form(a: Column, b: Column) -> tuple[Column, Column]:
    """Return two canonical columns in one type: as text unless both are integers."""
    if a.type == b.type:
        return a, b
    return pc.cast(a, pa.string()), pc.cast(b, pa.string())


def missing(column: Column) -> np.ndarray:
    """Return which ids are missing, bool (N,): null or empty. The text NA is an id."""
    absent = to_bool(pc.is_null(column))
    return absent | to_bool(pc.equal(column, "")) if is_text(column) else absent


def repeated(column: Column) -> np.ndarray:
    """Return which ids occurred before, bool (N,). Null counts as an id."""
    encoded = pc.dictionary_encode(column, null_encoding="encode").combine_chunks()
    codes = (encoded if isinstance(encoded, pa.Array) else pa.concat_arrays(encoded.chunks)).indices.to_numpy(zero_copy_only=False)
    # Codes are given in order of first occurrence: a new id has a code above all before it.
    highest = np.maximum.accumulate(np.concatenate([[-1], codes[:-1]])) if len(codes) else codes
    return codes <= highest


def is_unique(column: Column) -> bool:
    """Return whether no id occurs twice."""
    return len(column) > 0 and not repeated(column).any()


def positions(ends: Column, ids: Column) -> np.ndarray:
    """Return the position of each end among the ids, int64 (E,); -1 for an unknown one."""
    ends, ids = common_form(ends, ids)
    found = pc.index_in(ends, ids.combine_chunks())
    return pc.fill_null(found, -1).combine_chunks().to_numpy(zero_copy_only=False).astype(np.int64)
