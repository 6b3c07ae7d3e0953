"""Adjacency matrices that `scipy.sparse.save_npz` wrote."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revgnn.data.readers.format import Format
from revgnn.data.readers.npz_archive import array_names
from revgnn.data.readers.sparse import MAX_NODES, edges_of_matrix
from revgnn.data.readers.text_file import unreadable

if TYPE_CHECKING:
    from revgnn.data.tables.contents import EdgeTable

_MOST_BYTES = 1 << 36


def read_scipy_npz(path: Path) -> EdgeTable:
    """Return the edges of a square sparse matrix: entry (i, j) is an edge from i to j. Nodes are numbered from 0.

    Edges have a direction unless the matrix is symmetric. Entries that are stored as 0 are no edges.

    Raises:
        ValueError: in one line, if it is damaged, is not square, or holds objects.
    """
    import scipy.sparse

    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > min(_MOST_BYTES, 1100 * path.stat().st_size):
            raise ValueError(f"its directory promises {size:,} bytes")
        stored: Any = scipy.sparse.load_npz(path)
        if len(stored.shape) == 2 and stored.format in ("csr", "csc", "bsr"):
            stored.check_format(full_check=True)
        if len(stored.shape) == 2 and max(stored.shape) > MAX_NODES:
            raise ValueError(f"its shape is {stored.shape}")
        matrix: Any = scipy.sparse.coo_matrix(stored)
    except Exception as error:  # how the file is damaged decides which comes
        raise unreadable(path, FORMAT.name, error) from None
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{path} holds a matrix of shape {matrix.shape}; the adjacency matrix of a graph is square.")
    matrix.eliminate_zeros()
    symmetric = (matrix != matrix.T).nnz == 0
    if symmetric:
        keep = matrix.row >= matrix.col
        matrix = scipy.sparse.coo_matrix((matrix.data[keep], (matrix.row[keep], matrix.col[keep])), shape=matrix.shape)
    return edges_of_matrix(matrix, path, directed=not symmetric)


def _fits(path: Path) -> bool:
    names = array_names(path)
    return {"format", "shape", "data"} <= names and "y" not in names


FORMAT = Format(
    name="SciPy sparse",
    endings=(".npz",),
    holds="edges, with weights (`scipy.sparse.save_npz`)",
    gives="edges",
    read=read_scipy_npz,
    fits=_fits,
)
