"""Matrix Market, read by SciPy: the adjacency matrix, with weights unless it is a pattern."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from revgnn.data.readers.format import Format
from revgnn.data.readers.sparse import MAX_NODES, edges_of_matrix
from revgnn.data.readers.text_file import unreadable

if TYPE_CHECKING:
    from revgnn.data.tables.contents import EdgeTable

_LEAST_BYTES = 4
"""Of a line such as "1 1\\n"."""
_GZIP_RATIO = 1032
"""The most that gzip can shrink anything."""


def read_matrix_market(path: Path) -> EdgeTable:
    """Return the edges of a square sparse matrix: entry (i, j) is an edge from i to j. Nodes are numbered from 0, as in SciPy.

    A symmetric matrix gives edges without direction, a general one edges with direction. The sizes in the header are compared with
    the size of the file before anything is allocated.

    Raises:
        ValueError: in one line, if it is damaged, is not square, is dense or complex, or its header promises more than it holds.
    """
    import scipy.io

    if not path.is_file():
        raise ValueError(f"there is no file {path}.")
    try:
        rows, columns, entries, layout, kind, symmetry = scipy.io.mminfo(str(path))
    except Exception as error:
        raise unreadable(path, FORMAT.name, error) from None
    if layout != "coordinate" or kind == "complex":
        raise ValueError(
            f"{path} holds a {layout} {kind} matrix; a graph is a `coordinate` matrix, `real`, `integer` or `pattern`."
        )
    if rows != columns:
        raise ValueError(f"{path} holds a matrix of {rows:,} x {columns:,}; the adjacency matrix of a graph is square.")
    room = path.stat().st_size * (_GZIP_RATIO if path.name.casefold().endswith(".gz") else 1) // _LEAST_BYTES
    if entries > room or not 0 < rows <= MAX_NODES:
        raise ValueError(
            f"{path} is refused: its header promises {entries:,} entries and {rows:,} rows; a file of this size has room for at "
            f"most {room:,} entries, and a graph for {MAX_NODES:,} nodes."
        )
    try:
        matrix: Any = scipy.io.mmread(str(path))
    except Exception as error:
        raise unreadable(path, FORMAT.name, error) from None
    one_way = symmetry == "general"
    if symmetry == "skew-symmetric":
        raise ValueError(f"{path} holds a skew-symmetric matrix, which is not the adjacency matrix of a graph.")
    if not one_way:
        # SciPy returns both triangles; one holds each edge once.
        keep = np.asarray(matrix.row) >= np.asarray(matrix.col)
        matrix = type(matrix)((matrix.data[keep], (matrix.row[keep], matrix.col[keep])), shape=matrix.shape)
    return edges_of_matrix(matrix, path, directed=one_way)


FORMAT = Format(
    name="Matrix Market",
    endings=(".mtx", ".mtx.gz"),
    holds="edges, with weights",
    gives="edges",
    read=read_matrix_market,
)
