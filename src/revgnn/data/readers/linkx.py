"""The `.mat` files of LINKX (Lim et al. 2021, arXiv:2110.14446): Facebook100's and those with `edge_index`."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from revgnn.data.readers.format import Arrays, Format
from revgnn.data.readers.mat5 import read_mat5
from revgnn.data.readers.text_file import unreadable

_FACEBOOK = ("A", "local_info")
_PLAIN = ("edge_index", "node_feat", "label")


def read_linkx(path: Path) -> Arrays:
    """Return edges, features and labels as PyTorch Geometric's `LINKXDataset` does.

    Facebook100 (`A`, `local_info`): the label is the gender, column 1, where 0 is missing; the other columns become one input for
    each of their values. Edges are used as they are stored.

    Raises:
        ValueError: in one line, if it cannot be read or holds other variables.
    """
    try:
        names, stored = read_mat5(path, (*_FACEBOOK, *_PLAIN))
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}.") from None
    except (ValueError, TypeError, IndexError, OSError, zlib.error, struct.error) as error:
        raise unreadable(path, FORMAT.name, error) from None
    wanted = next((fields for fields in (_FACEBOOK, _PLAIN) if set(fields) <= set(stored)), ())
    if not wanted:
        raise ValueError(
            f"{path} holds {', '.join(names[:10])[:200] or 'nothing'}; expected {' and '.join(_FACEBOOK)}, or "
            f"{', '.join(_PLAIN)}. Save other arrays as .npz (docs/data.md)."
        )
    try:
        return _facebook(stored) if wanted == _FACEBOOK else _plain(stored)
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"{path} does not fit together: {error}") from None


def _facebook(stored: dict[str, Any]) -> Arrays:
    adjacency = stored["A"].tocsr().tocoo()
    info = np.asarray(stored["local_info"]).astype(np.int64)
    if info.ndim != 2 or info.shape[1] < 2 or adjacency.shape != (len(info), len(info)):
        raise ValueError(f"A has shape {adjacency.shape} and local_info {info.shape}")
    parts = []
    for column in np.delete(info, 1, axis=1).T:
        values, codes = np.unique(column, return_inverse=True)
        if (sum(part.shape[1] for part in parts) + len(values)) * len(info) > 2**32:
            raise ValueError("the columns of local_info have too many different values")
        part = np.zeros((len(info), len(values)), np.float32)
        part[np.arange(len(info)), codes.reshape(-1)] = 1
        parts.append(part)
    return {
        "edge_index": np.stack([adjacency.row, adjacency.col]).astype(np.int64),
        "undirected": np.array(False),
        "x": np.concatenate(parts, axis=1) if parts else np.zeros((len(info), 0), np.float32),
        "y": info[:, 1] - 1,
    }


def _plain(stored: dict[str, Any]) -> Arrays:
    features = stored["node_feat"]
    return {
        "edge_index": np.asarray(stored["edge_index"]).astype(np.int64),
        "undirected": np.array(False),
        "x": np.asarray(features.toarray() if hasattr(features, "toarray") else features, np.float32),
        "y": np.asarray(stored["label"]).reshape(-1).astype(np.int64),
    }


FORMAT = Format(
    name="LINKX mat",
    endings=(".mat",),
    holds="`A` and `local_info` (Facebook100), or `edge_index`, `node_feat`, `label`",
    gives="arrays",
    read=read_linkx,
)
