"""The files of an OGB set as arrays: `raw/` in its csv or binary form, and `split/`."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from revgnn.data.dataset import Split
from revgnn.data.numbers import to_float32
from revgnn.data.readers.csv import read_csv
from revgnn.data.readers.npz_archive import open_npz, read_array
from revgnn.data.readers.torch_file import read_torch_dict
from revgnn.graph import edge_storage


class RawArrays(NamedTuple):
    """The contents of `raw/`."""

    num_nodes: int
    edge_index: np.ndarray
    edge_attr: np.ndarray | None
    edge_scale: float | None
    """Scale of `edge_attr` if it is int16; None if it is float32."""
    x: np.ndarray | None
    species: np.ndarray | None
    y: np.ndarray


def read_raw(folder: Path, *, binary: bool, compress: bool) -> RawArrays:
    """Read the folder `raw/` of a set.

    Args:
        folder: the folder that holds `raw/`.
        binary: the files are `.npz`, not `.csv.gz`.
        compress: store edge features in 16 bits if nothing is lost.

    Raises:
        ValueError: if a file is missing, damaged or does not have as many rows as the others say.
    """
    raw = folder / "raw"
    arrays, num_edges = (_read_npz if binary else _read_csv)(raw, compress)
    # The numbers of rows agree unless a file is truncated.
    if arrays.edge_index.shape[1] != num_edges:
        raise ValueError(f"{raw}: {arrays.edge_index.shape[1]} edges, but its list of sizes says {num_edges}; is a file truncated?")
    for what, rows in (("node features", arrays.x), ("species", arrays.species), ("labels", arrays.y)):
        if rows is not None and len(rows) != arrays.num_nodes:
            raise ValueError(f"{raw}: {what} of {len(rows)} nodes, but there are {arrays.num_nodes}; is a file truncated?")
    return arrays


def _read_csv(raw: Path, compress: bool) -> tuple[RawArrays, int]:
    num_nodes = _single_size(read_csv(raw / "num-node-list.csv.gz", np.int64), raw, "nodes")
    num_edges = _single_size(read_csv(raw / "num-edge-list.csv.gz", np.int64), raw, "edges")

    def optional(name: str, rows: int) -> np.ndarray | None:
        path = raw / f"{name}.csv.gz"
        return read_csv(path, np.float32, rows) if path.is_file() else None

    # First the array that needs the most memory while it is read.
    edge_attr, edge_scale = _compress_if(compress, optional("edge-feat", num_edges))
    edges = read_csv(raw / "edge.csv.gz", np.int64, num_edges)
    if edges.size and edges.shape[1] != 2:
        raise ValueError(f"{raw / 'edge.csv.gz'} has {edges.shape[1]} columns; it must have two, source and destination.")
    edge_index = edges.reshape(-1, 2).T
    species = next((p for p in (raw / "node_species.csv.gz", raw / "species.csv.gz") if p.is_file()), None)
    arrays = RawArrays(
        num_nodes=num_nodes,
        edge_index=edge_index,
        edge_attr=edge_attr,
        edge_scale=edge_scale,
        x=optional("node-feat", num_nodes),
        species=None if species is None else _single_column(read_csv(species, np.int64), species),
        y=read_csv(raw / "node-label.csv.gz", np.float32),
    )
    return arrays, num_edges


def _read_npz(raw: Path, compress: bool) -> tuple[RawArrays, int]:
    data_path, label_path = raw / "data.npz", raw / "node-label.npz"
    with open_npz(data_path) as data, open_npz(label_path) as labels:

        def optional(key: str) -> np.ndarray | None:
            return to_float32(read_array(data, key, data_path), f"{key} in {data_path}") if key in data else None

        species = read_array(data, "node_species", data_path) if "node_species" in data else None
        if species is not None and species.dtype.kind not in "iu":
            raise ValueError(f"node_species in {data_path} must be integers, got {species.dtype}.")
        edge_attr, edge_scale = _compress_if(compress, optional("edge_feat"))
        arrays = RawArrays(
            num_nodes=_single_size(read_array(data, "num_nodes_list", data_path), raw, "nodes"),
            edge_index=read_array(data, "edge_index", data_path),
            edge_attr=edge_attr,
            edge_scale=edge_scale,
            x=optional("node_feat"),
            species=None if species is None else species.reshape(-1).astype(np.int64),
            y=read_array(labels, "node_label", label_path),
        )
        return arrays, _single_size(read_array(data, "num_edges_list", data_path), raw, "edges")


def _compress_if(compress: bool, edge_attr: np.ndarray | None) -> tuple[np.ndarray | None, float | None]:
    if edge_attr is None or not compress:
        return edge_attr, None
    features, scale = edge_storage.compress(torch.from_numpy(edge_attr), 1.0, "auto")
    return features.numpy(), scale if features.dtype == torch.int16 else None


def _single_size(sizes: np.ndarray, raw: Path, what: str) -> int:
    if sizes.dtype.kind not in "iu":
        raise ValueError(f"{raw}: the list of numbers of {what} must hold integers, got {sizes.dtype}.")
    if sizes.size != 1:
        raise ValueError(f"{raw} holds {sizes.size} graphs, by its list of numbers of {what}; a node set is one graph.")
    return int(sizes.reshape(-1)[0])


def read_split(folder: Path, split: str, *, required: bool = True) -> Split:
    """Return the split in `split/<split>`, stored as `split_dict.pt` or as three csv.gz files.

    Args:
        folder: the folder that holds `split/`.
        split: name of the split.
        required: if False and there is no such split but a single other one, that one is returned.

    Raises:
        ValueError: if there is no such split, or its files are missing or damaged.
    """
    path = folder / "split" / split
    if not path.is_dir():
        known = sorted(p.name for p in (folder / "split").glob("*") if p.is_dir())
        if required or len(known) != 1:
            raise ValueError(f"{folder} has no split {split!r}; it has {', '.join(known) or 'none'}.")
        path = folder / "split" / known[0]
    if (path / "split_dict.pt").is_file():
        stored = read_torch_dict(path / "split_dict.pt", "a split of plain arrays")
        parts = [part for name in ("train", "valid", "test") if isinstance(part := stored.get(name), Tensor | np.ndarray)]
        if len(parts) != 3:
            raise ValueError(f"{path}: split_dict.pt must hold arrays train, valid and test, it has {', '.join(map(str, stored))}.")
        return Split(*(_node_numbers(part, path / "split_dict.pt") for part in parts))
    files = [path / f"{part}.csv.gz" for part in ("train", "valid", "test")]
    return Split(*(torch.from_numpy(_single_column(read_csv(file, np.int64), file)) for file in files))


def _node_numbers(part: Tensor | np.ndarray, path: Path) -> Tensor:
    array = part.numpy() if isinstance(part, Tensor) else part
    if array.dtype.kind not in "iu":
        raise ValueError(f"{path}: the nodes of a split must be integers, got {array.dtype} of shape {array.shape}.")
    return torch.from_numpy(array.astype(np.int64).reshape(-1))


def _single_column(array: np.ndarray, path: Path) -> np.ndarray:
    if array.size and array.shape[1] != 1:
        raise ValueError(f"{path} has {array.shape[1]} columns; it must have one number in each row.")
    return array.reshape(-1)
