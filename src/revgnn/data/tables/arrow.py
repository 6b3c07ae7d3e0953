"""Arrow's functions, and small helpers on its columns."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as _compute

pc: Any = _compute
"""`pyarrow.compute`. Its functions are made at run time, so that type checkers do not know them."""

Column: TypeAlias = pa.ChunkedArray


def is_text(column: Column) -> bool:
    """Return whether a column holds strings."""
    return pa.types.is_string(column.type) or pa.types.is_large_string(column.type)


def is_list(column: Column) -> bool:
    """Return whether a column holds lists."""
    kinds = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(kind(column.type) for kind in kinds)


def is_number(column: Column) -> bool:
    """Return whether a column holds numbers. Booleans are none."""
    kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    return any(kind(column.type) for kind in kinds)


def is_date(column: Column) -> bool:
    """Return whether a column holds dates or times of dates."""
    return pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)


def to_bool(mask: Any) -> np.ndarray:
    """Return a boolean Arrow column as bool (N,); null is False."""
    return pc.fill_null(mask, False).to_numpy(zero_copy_only=False) if isinstance(mask, pa.Array) else to_bool(_one(mask))


def to_float64(column: Column) -> np.ndarray:
    """Return numbers as float64 (N,); null is NaN."""
    return _one(pc.fill_null(pc.cast(column, pa.float64(), safe=False), float("nan"))).to_numpy(zero_copy_only=False)


def shown(value: Any, limit: int = 40) -> str:
    """Return a value for a message, cut to `limit` characters."""
    text = repr(value.as_py() if isinstance(value, pa.Scalar) else value)
    return text if len(text) <= limit else f"{text[:limit]}..."


def _one(column: Column) -> pa.Array:
    combined = column.combine_chunks()
    return combined if isinstance(combined, pa.Array) else pa.concat_arrays(combined.chunks)
