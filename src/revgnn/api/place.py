"""Data in memory as files that the readers know, in a temporary folder: so a run in Python is the run of the command line."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data, Dataset

from revgnn.api.frames import are_frames, write_frames
from revgnn.data import NodeDataset, save_npz
from revgnn.files import replacing
from revgnn.graph import Graph

PARTS = ("train", "valid", "test")
FIELDS = ("graph", "x", "y", "species", "graph_of_node", "pairs", *PARTS, "task_names")
"""What a mapping with a graph may have."""

FILE = "graph.npz"

_MASKS = {"train": "train_mask", "valid": "val_mask", "test": "test_mask"}
"""The parts of a split, and what PyTorch Geometric calls their masks."""


def place(data: Any, folder: Path, *, needs_labels: bool = True) -> str:
    """Write data in memory into a folder, and return the name by which the readers find them. Paths and names stay as they are.

    Args:
        data: see `revgnn.fit`.
        folder: an empty folder.
        needs_labels: whether data without labels are refused.

    Raises:
        TypeError: if it is nothing that a graph can be made of.
        ValueError: if an array does not fit.
    """
    if isinstance(data, str | os.PathLike):
        return os.fspath(data)
    if are_frames(data):
        write_frames(data, folder)
        return str(folder)
    if isinstance(data, NodeDataset):
        save_npz(data, folder / FILE)
        return str(folder / FILE)
    arrays = arrays_of(data)
    if "y" not in arrays and needs_labels:
        raise ValueError("the data have no labels y to train on; give y, (N,) classes or (N, T) of 0 and 1.")
    del arrays["num_nodes"]  # as many as labels
    _check_species(arrays.get("species"))
    with replacing(folder / FILE) as temporary, open(temporary, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    return str(folder / FILE)


@contextmanager
def naming(folder: Path) -> Iterator[None]:
    """Let errors name data in memory by what they are, not by the files in `folder` that stand for them."""
    try:
        yield
    except (ValueError, OSError) as error:
        if len(error.args) == 1 and isinstance(error.args[0], str):
            error.args = (_named(error.args[0], folder),)
        raise


def _named(message: str, folder: Path) -> str:
    for name, words in ((FILE, "the data"), ("nodes.parquet", "the table of nodes"), ("edges.parquet", "the table of edges")):
        message = message.replace(str(folder / name), words)
    return message.replace(str(folder), "the data")


def arrays_of(data: Any) -> dict[str, np.ndarray]:
    """Return the arrays of a PyTorch Geometric `Data`, or of a mapping with a graph, by the names of `revgnn.data.readers.npz`.

    `num_nodes` is added, for graphs without labels.

    Raises:
        TypeError, ValueError: see `place`.
    """
    if isinstance(data, Dataset):  # of PyTorch Geometric
        data = list(data)
    if isinstance(data, Sequence) and data and all(isinstance(graph, Data) for graph in data):
        return _arrays_of_many(data) if len(data) > 1 else arrays_of(data[0])
    if isinstance(data, Data):
        fields: dict[str, Any] = {"graph": data, "x": data.x, "y": data.y}
        fields |= {part: data.get(mask) for part, mask in _MASKS.items()}
    elif isinstance(data, Mapping):
        fields = dict(data)
        unknown = [str(name) for name in fields if name not in FIELDS]
        if unknown or "graph" not in fields:
            raise ValueError(
                f"a graph in memory is given as a mapping with {', '.join(FIELDS)}, or with nodes and edges; "
                + (f"got {', '.join(unknown)}." if unknown else "the graph is missing.")
            )
    elif isinstance(data, NodeDataset):
        if data.row != "node":
            raise ValueError(f"labels of this data set are those of {data.row}s; only those of nodes can be taken from memory.")
        parts = {part: getattr(data.split, part) for part in PARTS}
        fields = {"graph": data.graph, "x": data.x, "y": data.y, "species": data.species, **parts}
    else:
        raise TypeError(
            f"cannot train on {type(data).__name__}; give a path, the name of a data set, a torch_geometric Data, "
            'a mapping {"graph": Graph, "x": ..., "y": ...}, or tables {"nodes": ..., "edges": ...}.'
        )
    graph = Graph.of(fields.pop("graph"))
    arrays: dict[str, Any] = {"edge_index": torch.stack([graph.src.long(), graph.dst.long()]), **fields}
    arrays["edge_attr"] = graph.edge_features(torch.float32)
    found = {name: _array(values) for name, values in arrays.items() if values is not None}
    if "y" in found:
        found["y"] = _labels(found["y"])
    _check_rows(found, graph.num_nodes)
    found["num_nodes"] = np.array(graph.num_nodes)
    return found


def _arrays_of_many(graphs: Sequence[Data]) -> dict[str, np.ndarray]:
    """Return the arrays of many graphs, each with labels of its own in `y`, of shape (1,) or (1, T)."""
    batch: Any = Batch.from_data_list(list(graphs))  # its fields are those of the graphs
    arrays = arrays_of({"graph": batch, "x": batch.x, "graph_of_node": batch.batch})
    if batch.y is not None:
        arrays["y"] = _labels(_array(batch.y))
        if len(arrays["y"]) != len(graphs):
            raise ValueError(f"{len(graphs)} graphs have {len(arrays['y'])} labels; give each a label of shape (1,) or (1, T).")
    return arrays


def _array(values: Any) -> np.ndarray:
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return np.asarray(values)


def _labels(y: np.ndarray) -> np.ndarray:
    """Return labels as integers or floats, (N,) for a single column."""
    y = y.astype(np.int64) if y.dtype == bool else y
    return y.reshape(-1) if y.ndim == 2 and y.shape[1] == 1 else y


def _check_species(species: np.ndarray | None) -> None:
    """Raise `ValueError` unless categories are numbered from 0 without gaps: another graph is read with the same numbers."""
    if species is None:
        return
    found = np.unique(species)
    if species.dtype.kind not in "iu" or not np.array_equal(found, np.arange(len(found))):
        seen = ", ".join(map(str, found[:5].tolist()))
        raise ValueError(f"species must be whole numbers from 0 without gaps, one for each category; got {seen}.")


def _check_rows(arrays: Mapping[str, np.ndarray], num_nodes: int) -> None:
    for name in ("x", "species") if "graph_of_node" in arrays or "pairs" in arrays else ("x", "y", "species"):
        if name in arrays and (arrays[name].ndim == 0 or len(arrays[name]) != num_nodes):
            raise ValueError(
                f"{name} has shape {arrays[name].shape}, but the graph has {num_nodes} nodes; give one row a node (a graph with "
                "isolated nodes at the end needs num_nodes)."
            )
