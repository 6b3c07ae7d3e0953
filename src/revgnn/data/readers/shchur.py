"""The `.npz` layout of Shchur et al. 2018 (arXiv:1811.05868): sparse matrices `adj_*` and `attr_*`, and `labels`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from revgnn.data.readers.format import Arrays, Format
from revgnn.data.readers.npz_archive import array_names, open_npz, read_array

_PARTS = ("data", "indices", "indptr", "shape")
_PREFIXES = {"adj": ("adj_", "adj_matrix."), "attr": ("attr_", "attr_matrix.")}
"""The second of each is how the authors' later files are written."""


def read_shchur(path: Path) -> Arrays:
    """Return edges, features and labels as PyTorch Geometric does: no self-loops, both directions, bags of words as 0 and 1.

    Other arrays, such as names of words and of classes, are not read.

    Raises:
        ValueError: in one line, if an array is missing or damaged.
    """
    with open_npz(path) as data:
        adjacency = _matrix(data, "adj", path).tocoo()
        if any(f"{prefix}data" in data for prefix in _PREFIXES["attr"]):
            attributes = _matrix(data, "attr", path)
            if attributes.shape[0] * attributes.shape[1] > 2**34:
                raise ValueError(f"{path} has features of shape {attributes.shape}, too many for a dense matrix.")
            x = (attributes.toarray() > 0).astype(np.float32)
        else:
            x = read_array(data, "attr_matrix", path)
        labels = read_array(data, "labels", path)
    ends = np.stack([adjacency.row, adjacency.col])
    return {"edge_index": ends[:, ends[0] != ends[1]], "undirected": np.array(True), "x": x, "y": labels}


def _matrix(data: np.lib.npyio.NpzFile, kind: str, path: Path) -> Any:
    prefix = next((prefix for prefix in _PREFIXES[kind] if f"{prefix}data" in data), _PREFIXES[kind][0])
    fields = [read_array(data, f"{prefix}{part}", path) for part in _PARTS]
    try:
        out: Any = scipy.sparse.csr_matrix((fields[0], fields[1], fields[2]), shape=tuple(fields[3]))
        out.check_format(full_check=True)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{path} holds a damaged matrix {kind}: {error}") from None
    return out


def _fits(path: Path) -> bool:
    names = array_names(path)
    return any(f"{prefix}indptr" in names for prefix in _PREFIXES["adj"])


FORMAT = Format(
    name="Shchur's npz",
    endings=(".npz",),
    holds="`adj_*`, `attr_*` and `labels`: Cora-ML, CitationFull, Amazon, Coauthor",
    gives="arrays",
    read=read_shchur,
    fits=_fits,
)
