"""Tables of pandas, polars, pyarrow, and of any library that speaks Arrow's protocols, as two Parquet files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from revgnn.files import replacing


@runtime_checkable
class _Stream(Protocol):
    """A table of a library that hands out Arrow data: polars, pandas, DuckDB."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


@runtime_checkable
class _Interchange(Protocol):
    """A table of the older protocol for exchanging tables."""

    def __dataframe__(self, nan_as_null: bool = False, allow_copy: bool = True) -> Any: ...


def are_frames(data: object) -> bool:
    """Return whether `data` is a mapping of tables: nodes and edges."""
    return isinstance(data, Mapping) and "nodes" in data


def write_frames(data: Mapping[str, Any], folder: Path) -> None:
    """Write nodes.parquet and edges.parquet.

    Args:
        data: `nodes` and `edges`, a table each. An index of pandas with a name becomes a column.

    Raises:
        ValueError: if one is missing, there is something else, or a column cannot be stored.
        TypeError: if one is no table.
    """
    import pyarrow.parquet as pa_parquet

    if data.keys() != {"nodes", "edges"}:
        raise ValueError(
            f"tables are given as data={{'nodes': ..., 'edges': ...}}, got {', '.join(map(str, data))}; settings say how columns "
            'are used, such as settings={"data.labels": ["plan"]}.'
        )
    for name, frame in data.items():
        table = _table(frame, name)
        with replacing(folder / f"{name}.parquet") as temporary:
            pa_parquet.write_table(table, temporary)


def _table(frame: object, name: str) -> Any:
    import pyarrow as pa

    try:
        if isinstance(frame, pa.Table):
            return frame
        if type(frame).__module__.partition(".")[0] == "pandas":
            index: Any = getattr(frame, "index", None)
            return pa.Table.from_pandas(frame, preserve_index=index is not None and index.name is not None)
        if isinstance(frame, _Stream):
            return pa.table(frame)
        if isinstance(frame, _Interchange):
            from pyarrow.interchange import from_dataframe

            return from_dataframe(frame)
    except (pa.ArrowException, TypeError) as error:
        raise ValueError(
            f"the table of {name} cannot be stored: {' '.join(str(error).split())[:300]}; give each column one type."
        ) from None
    raise TypeError(f"the table of {name} is {type(frame).__name__}; give a table of pandas, polars or pyarrow.")
