"""Sparse matrices of SciPy as edges."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from revgnn.data.tables.contents import EdgeTable

MAX_NODES = 2**31 - 1

_MOST_ISOLATED = 1_000_000
_ISOLATED_SHARE = 100


def edges_of_matrix(matrix: Any, path: Path, *, directed: bool) -> EdgeTable:
    """Return the entries of a square matrix as edges; entry (i, j) is an edge from i to j, its value the weight.

    Args:
        matrix: a SciPy matrix in COO form.
        path: its file, for messages.
        directed: whether the edges have a direction.

    Raises:
        ValueError: if a value is not a real number, or an index is out of range.
    """
    import pyarrow as pa

    from revgnn.data.tables.contents import EdgeTable

    num_nodes = check_num_nodes(int(matrix.shape[0]), matrix.nnz, path)
    ends = [np.asarray(matrix.row).astype(np.int64), np.asarray(matrix.col).astype(np.int64)]
    if any(end.size and (end.min() < 0 or end.max() >= num_nodes) for end in ends):
        raise ValueError(f"{path} has an entry outside its {num_nodes:,} rows and columns.")
    values = np.asarray(matrix.data)
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{path} has entries of the type {values.dtype}; weights are real numbers.")
    columns: dict[str, np.ndarray] = {"source": ends[0], "target": ends[1]}
    # Ones only say that there is an edge.
    if values.size and not (values == 1).all():
        columns["weight"] = values.astype(np.float64) if values.dtype.kind in "bu" or values.dtype.itemsize < 4 else values
    return EdgeTable(pa.table(columns), directed=directed, num_nodes=num_nodes)


def check_num_nodes(num_nodes: int, num_edges: int, path: Path) -> int:
    """Return the number of nodes, or raise `ValueError` if it is not plausible: a damaged header would allocate any memory."""
    if num_nodes > MAX_NODES or num_nodes > _MOST_ISOLATED + _ISOLATED_SHARE * num_edges:
        raise ValueError(
            f"{path} is refused: it promises {num_nodes:,} nodes for {num_edges:,} edges, so that nearly all would be isolated."
        )
    return num_nodes
