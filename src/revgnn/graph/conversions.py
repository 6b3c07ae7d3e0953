"""Edges of the sparse matrices of other libraries."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


def edges_of_sparse(matrix: Any) -> tuple[Tensor, Tensor]:
    """Return the stored entries of a square sparse matrix of torch or SciPy as edges: entry `[i, j]` is the edge `j -> i`.

    Returns:
        edge_index, int64, (2, E), sources and destinations, and the entries' values, (E,).

    Raises:
        ValueError: if the matrix is dense or not square.
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"an adjacency matrix must be square, got shape {tuple(matrix.shape)}.")
    if isinstance(matrix, Tensor):
        if matrix.layout == torch.strided:
            raise ValueError("a dense matrix is not a graph; pass matrix.to_sparse() or an edge_index of shape (2, E).")
        coo = matrix if matrix.layout == torch.sparse_coo else matrix.to_sparse_coo()
        # Not coalesced: doubled edges stay.
        rows_and_columns, values = coo._indices(), coo._values()
    else:
        entries = matrix.tocoo()
        rows_and_columns = torch.from_numpy(np.stack([entries.coords[0], entries.coords[1]]).astype(np.int64))
        data = np.asarray(entries.data)
        values = torch.from_numpy(data.astype(data.dtype.newbyteorder("="), order="C", copy=False))
    return rows_and_columns.flip(0), values
