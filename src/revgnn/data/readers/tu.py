"""Data sets of many small graphs in the text format of TU Dortmund (Morris et al. 2020, arXiv:2007.08663): MUTAG, PROTEINS, ...

| file | a row for each | content |
| --- | --- | --- |
| `NAME_A.txt` | edge | source and target, numbered from 1 over all graphs |
| `NAME_graph_indicator.txt` | node | the graph of the node, from 1 |
| `NAME_graph_labels.txt` | graph | a class: any whole number |
| `NAME_graph_attributes.txt` | graph | numbers to predict (regression); used if there are no labels, or if the task says so |
| `NAME_node_attributes.txt` | node | numbers: features |
| `NAME_node_labels.txt` | node | whole numbers: a one-hot vector for each column |
| `NAME_edge_attributes.txt`, `NAME_edge_labels.txt` | edge | likewise, for edges |

Only the first two and one of the next two are needed. Features are in the order attributes, labels, as in PyTorch Geometric.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from revgnn.data.build_graph import build_graph
from revgnn.data.dataset import DEFAULT_METRIC, NodeDataset, Task, TaskSetting
from revgnn.data.many_graphs import ManyGraphs
from revgnn.data.node_features import default_node_features
from revgnn.data.numbers import to_float32
from revgnn.data.readers.format import Format
from revgnn.data.splits import random_splits

INDICATOR = "_graph_indicator.txt"
"""The end of the name of the file that such a folder is known by."""

_MAX_ONE_HOT = 1000
"""More different labels of nodes or edges than this are taken for something else."""


def find_tu(folder: Path) -> Path | None:
    """Return the folder with the files, `folder` or its `raw`; None if it is no such data set."""
    return next((place for place in (folder, folder / "raw") if place.is_dir() and any(place.glob(f"*{INDICATOR}"))), None)


def read_tu(
    folder: Path,
    *,
    undirected: bool | None = None,
    self_loops: bool | None = None,
    split: int = 0,
    task: TaskSetting | None = None,
) -> NodeDataset:
    """Read a data set from a folder that `find_tu` returned. There is no published split: split s is random, with seed s.

    Args:
        undirected: add the reverse of every edge and keep each once; default True.
        self_loops: see `build_graph`; default: removed, as in PyTorch Geometric.
        split: number of the split in use.
        task: "regression" predicts the attributes of graphs, or their labels as numbers; others are classes.

    Raises:
        ValueError: if a file is missing or damaged, or the files do not fit together; names the file.
    """
    if task in ("links", "edges"):
        raise ValueError(f"{folder} holds many small graphs with labels of graphs; a {task} task is for one graph.")
    files = sorted(folder.glob(f"*{INDICATOR}"))
    if len(files) != 1:
        raise ValueError(f"{folder} holds {' and '.join(file.name for file in files)}; name a folder with one data set.")
    name = files[0].name.removesuffix(INDICATOR)
    edges = _read(folder, name, "A", np.int64, columns=2)
    owner = _read(folder, name, "graph_indicator", np.int64, columns=1)
    assert edges is not None
    assert owner is not None
    graph_of_node = owner[:, 0] - owner[:1, 0]
    try:
        graphs = ManyGraphs(torch.from_numpy(graph_of_node))
        edge_features = _features(folder, name, "edge", len(edges))
        graph = build_graph(edges.T - 1, len(owner), edge_features, undirected=undirected is not False, self_loops=bool(self_loops))
        x = _features(folder, name, "node", len(owner))
        labels = _labels(folder, name, len(graphs), task)
        return NodeDataset(
            name=name,
            graph=graph,
            x=default_node_features(graph) if x is None else torch.from_numpy(x),
            graphs=graphs,
            y=labels[1],
            task=labels[0],
            num_outputs=labels[2],
            metric=DEFAULT_METRIC[labels[0]],
            splits=random_splits(np.ones(len(graphs), bool), max(10, split + 1)),
            split_index=split,
            source=str(folder),
        )
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None


def _labels(folder: Path, name: str, num_graphs: int, task: TaskSetting | None) -> tuple[Task, torch.Tensor, int]:
    attributes = _read(folder, name, "graph_attributes", np.float64, rows=num_graphs, needed=False)
    labels = _read(folder, name, "graph_labels", np.float64, rows=num_graphs, needed=attributes is None)
    if task == "regression" or labels is None:
        numbers = attributes if attributes is not None else labels
        assert numbers is not None
        if task not in (None, "regression"):
            raise ValueError(f"{name} has numbers of graphs (graph_attributes) but no labels, which a {task} task needs.")
        return "regression", torch.from_numpy(to_float32(numbers, "graph_attributes")), numbers.shape[1]
    if labels.shape[1] > 1 or task == "multilabel":
        missing_as_nan = np.where(np.isin(labels, (0, 1)), labels, np.nan)
        return "multilabel", torch.from_numpy(to_float32(missing_as_nan, "graph_labels")), labels.shape[1]
    classes, codes = np.unique(labels[:, 0], return_inverse=True)
    if (classes != np.trunc(classes)).any():
        raise ValueError(f"{name}_graph_labels.txt holds {classes[classes != np.trunc(classes)][0]:g}, which is no class.")
    y = torch.from_numpy(codes.reshape(-1).astype(np.int64))
    if len(classes) == 2 and task != "multiclass":
        return "binary", y, 1
    return "multiclass", y, len(classes)


def _features(folder: Path, name: str, of: str, rows: int) -> np.ndarray | None:
    """Return attributes and one-hot labels of nodes or edges, float32 (rows, F); None if there are neither."""
    parts = []
    attributes = _read(folder, name, f"{of}_attributes", np.float64, rows=rows, needed=False)
    if attributes is not None:
        parts.append(to_float32(attributes, f"{of}_attributes"))
    labels = _read(folder, name, f"{of}_labels", np.int64, rows=rows, needed=False)
    for column in [] if labels is None else labels.T:
        # Every number between the smallest and the largest has its place, as in PyTorch Geometric.
        low, high = (int(column.min()), int(column.max())) if len(column) else (0, 0)
        if high - low >= _MAX_ONE_HOT:
            raise ValueError(f"{name}_{of}_labels.txt holds labels from {low} to {high}, too many for one-hot vectors.")
        one_hot = np.zeros((rows, high - low + 1), np.float32)
        one_hot[np.arange(rows), column - low] = 1
        parts.append(one_hot)
    return np.concatenate(parts, axis=1) if parts else None


def _read(
    folder: Path,
    name: str,
    what: str,
    dtype: type[np.generic],
    *,
    rows: int | None = None,
    columns: int | None = None,
    needed: bool = True,
) -> np.ndarray | None:
    """Return a file of numbers separated by commas, (rows, columns); None if it is missing and not needed."""
    path = folder / f"{name}_{what}.txt"
    if not path.is_file():
        if needed:
            raise ValueError(f"{folder} has no file {path.name}.")
        return None
    try:
        array = np.loadtxt(path, delimiter=",", dtype=dtype, ndmin=2) if path.stat().st_size else np.zeros((0, columns or 1), dtype)
    except (ValueError, OSError, OverflowError) as error:
        raise ValueError(f"{path} cannot be read as {np.dtype(dtype).name}: {' '.join(str(error).split())[:200]}") from None
    if (rows is not None and len(array) != rows) or (columns is not None and array.shape[1] != columns):
        raise ValueError(
            f"{path} has {len(array)} rows of {array.shape[1]}; expected {rows if rows is not None else 'any number of'} rows"
            f"{'' if columns is None else f' of {columns}'}."
        )
    return array


FORMAT = Format(
    name="TU Dortmund",
    endings=(),
    holds="a folder with `NAME_A.txt`, `NAME_graph_indicator.txt`, ...: many small graphs, see tasks.md",
    gives="folder",
    fits=lambda path: find_tu(path) is not None,
)
