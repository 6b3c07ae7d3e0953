"""Edges of the sparse matrices of other libraries."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.typing import SparseTensor  # pyright: ignore[reportAttributeAccessIssue] (optional there)


def is_sparse(matrix: object) -> bool:
    """Whether this is a sparse matrix of torch, SciPy or torch_sparse."""
    if isinstance(matrix, Tensor):
        return matrix.layout != torch.strided
    return isinstance(matrix, SparseTensor) or scipy.sparse.issparse(matrix)


def shape_of(matrix: Any) -> tuple[int, int]:
    """Return the numbers of rows and columns of a sparse matrix.

    Raises:
        ValueError: if it is dense, or has more than two dimensions beside those of its entries.
    """
    if isinstance(matrix, SparseTensor):
        return matrix.sparse_size(0), matrix.sparse_size(1)
    if isinstance(matrix, Tensor) and matrix.layout == torch.strided:
        raise ValueError("a dense matrix is not a graph; pass matrix.to_sparse() or an edge_index of shape (2, E).")
    if matrix.ndim - (matrix.dense_dim() if isinstance(matrix, Tensor) else 0) != 2:
        raise ValueError(f"an adjacency matrix must have two dimensions, got shape {tuple(matrix.shape)}.")
    return matrix.shape[0], matrix.shape[1]


def sparse_size(edge_index: Tensor) -> tuple[int | None, int | None]:
    """Return the numbers of sources and destinations that an `EdgeIndex` knows; None for what is not known."""
    if not isinstance(edge_index, EdgeIndex):
        return None, None
    num_src, num_dst = edge_index.sparse_size()
    return num_src, num_dst


def square(matrix: Any) -> int:
    """Return the number of nodes of a square sparse matrix.

    Raises:
        ValueError: if it is not square, or `shape_of` refuses it.
    """
    rows, columns = shape_of(matrix)
    if rows != columns:
        raise ValueError(f"an adjacency matrix must be square, got shape {(rows, columns)}.")
    return rows


def edges_of_sparse(matrix: Any) -> tuple[Tensor, Tensor | None]:
    """Return the stored entries of a sparse matrix as edges: entry `[i, j]` is the edge `j -> i`. Doubled entries stay.

    Returns:
        edge_index, int64, (2, E), sources and destinations, and the entries' values, (E,) or (E, K); None if it stores none.
    """
    if isinstance(matrix, SparseTensor):
        row, column, values = matrix.coo()
        return torch.stack([column, row]), values
    if isinstance(matrix, Tensor):
        with torch.no_grad():
            # not coalesced: doubled edges stay
            coo = matrix if matrix.layout == torch.sparse_coo else matrix.to_sparse_coo()
            return coo._indices().flip(0), coo._values()
    entries = matrix.tocoo()
    rows_and_columns = torch.from_numpy(np.stack([entries.coords[0], entries.coords[1]]).astype(np.int64))
    data = np.asarray(entries.data)
    return rows_and_columns.flip(0), torch.from_numpy(data.astype(data.dtype.newbyteorder("="), order="C", copy=False))


def values_of_sparse(matrix: Any) -> Tensor | None:
    """Return the values of the entries in the order of `edges_of_sparse`, differentiable where `matrix` is.

    Raises:
        ValueError: if a matrix that is not coalesced requires a gradient.
    """
    if not isinstance(matrix, Tensor):
        return edges_of_sparse(matrix)[1]
    if matrix.layout in (torch.sparse_csr, torch.sparse_csc):
        return matrix.values()
    if matrix.requires_grad:
        if matrix.layout != torch.sparse_coo or not matrix.is_coalesced():
            raise ValueError("entries of this sparse matrix cannot get a gradient; call coalesce() on it, or use CSR.")
        return matrix.values()
    return edges_of_sparse(matrix)[1]
