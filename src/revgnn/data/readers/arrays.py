"""A data set from named arrays, as readers of files return them.

The arrays and their names are those of the table in `revgnn.data.readers.npz`.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from revgnn.data.build_graph import build_graph
from revgnn.data.dataset import DEFAULT_METRIC, NodeDataset, Split, Task, TaskSetting
from revgnn.data.many_graphs import ManyGraphs
from revgnn.data.node_features import default_node_features
from revgnn.data.numbers import to_float32
from revgnn.data.pairs import Pairs
from revgnn.data.readers.format import Arrays
from revgnn.data.splits import random_splits, splits_from_masks

_MANY_CLASSES = 100
"""Above this, labels of which fewer than half of the classes occur are taken for something else, such as years."""


def dataset_of_arrays(
    arrays: Arrays,
    path: Path,
    *,
    undirected: bool | None = None,
    self_loops: bool | None = None,
    split: int = 0,
    task: TaskSetting | None = None,
) -> NodeDataset:
    """Build a data set from the arrays of a file.

    Args:
        arrays: by field: `edge_index` or `edges`, `y`, and what else the table has; `train`, `valid` and `test` for splits.
        path: the file, for messages and as the default of name and source.
        undirected: replaces the array `undirected`.
        self_loops: see `build_graph`; default: as stored.
        split: number of the split in use.
        task: replaces the array `task`, and what the labels look like.

    Raises:
        ValueError: if an array is not as the table says; names the file.
    """
    if task == "edges":
        raise ValueError(f"{path}: labels of edges are those of an array pairs in .npz files; leave --task out.")
    try:
        if task == "links":
            arrays = _without_labels(arrays)
        elif task is not None:
            arrays = {**arrays, "task": np.array(task)}
        if "y" not in arrays:
            raise ValueError("it has no labels of nodes; a network is trained on labels.")
        return _dataset(arrays, path, undirected, self_loops, split, trainable=task != "links")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _dataset(
    arrays: Arrays, path: Path, undirected: bool | None, self_loops: bool | None, split: int, *, trainable: bool
) -> NodeDataset:
    y = arrays["y"]
    num_nodes = len(y) if y.ndim else 0
    graphs = None
    if "graph_of_node" in arrays:
        graphs = ManyGraphs(torch.from_numpy(_check_kind(arrays["graph_of_node"], "graph_of_node", "iu").astype(np.int64)))
        num_nodes = len(graphs.graph_of_node)
    pairs = None
    if "pairs" in arrays:
        pairs = Pairs(torch.from_numpy(_check_kind(arrays["pairs"], "pairs", "iu").astype(np.int64)))
        num_nodes = _num_nodes(arrays)
    edge_index, stored_undirected = _edges(arrays)
    if y.ndim == 2 and graphs is pairs is None and num_nodes == 1 and y.shape[1] > 1 and edge_index.size and edge_index.max() > 0:
        raise ValueError(f"y has shape {y.shape}, one row, but edges name more nodes; save y.reshape(-1), of shape (N,).")
    edge_attr = arrays.get("edge_attr")
    if edge_attr is not None and edge_attr.ndim == 1:
        edge_attr = edge_attr[:, None]
    graph = build_graph(
        edge_index, num_nodes, edge_attr, undirected=stored_undirected if undirected is None else undirected, self_loops=self_loops
    )
    task, labels, num_outputs = _labels(y, arrays)
    species, num_species = None, 0
    if "species" in arrays:
        kinds, category = np.unique(_check_kind(arrays["species"], "species", "iu"), return_inverse=True)
        species, num_species = torch.from_numpy(category.reshape(-1)), len(kinds)
    x = to_float32(arrays["x"], "x") if "x" in arrays else None
    return NodeDataset(
        name=_text(arrays, "name", path.stem),
        graph=graph,
        x=default_node_features(graph) if x is None else torch.from_numpy(x),
        species=species,
        num_species=num_species,
        y=labels,
        task=task,
        num_outputs=num_outputs,
        metric=_text(arrays, "metric", DEFAULT_METRIC[task]),  # type: ignore[arg-type] - NodeDataset checks it
        splits=_splits(arrays, labels, split),
        split_index=split,
        task_names=tuple(map(str, arrays["task_names"].reshape(-1))) if "task_names" in arrays else None,
        source=_text(arrays, "source", str(path)),
        licence=_text(arrays, "licence", ""),
        graphs=graphs,
        pairs=pairs,
        trainable=trainable,
    )


def _without_labels(arrays: Arrays) -> Arrays:
    """Return the arrays of the graph alone, with a label of no node."""
    if "graph_of_node" in arrays:
        raise ValueError("the file holds many small graphs; links are those of one graph.")
    graph = ("edge_index", "edges", "undirected", "x", "edge_attr", "species", "name", "source", "licence")
    num_nodes = len(arrays["y"]) if "y" in arrays and "pairs" not in arrays else _num_nodes(arrays)
    return {key: arrays[key] for key in graph if key in arrays} | {"y": np.full(num_nodes, -1), "task": np.array("binary")}


def _num_nodes(arrays: Arrays) -> int:
    """Return the number of nodes where `y` has no row for each: that of `x` or `species`, or one more than edges name."""
    for name in ("x", "species"):
        if name in arrays:
            return len(arrays[name])
    return max((int(arrays[name].max(initial=-1)) + 1 for name in ("edge_index", "edges", "pairs") if name in arrays), default=0)


def _edges(arrays: Arrays) -> tuple[np.ndarray, bool]:
    if ("edge_index" in arrays) == ("edges" in arrays):
        raise ValueError("one array of edges is needed: edge_index of shape (2, E), or edges of shape (E, 2).")
    field = "edge_index" if "edge_index" in arrays else "edges"
    edges = _check_kind(arrays[field], field, "iu")
    side = 0 if field == "edge_index" else 1
    if edges.ndim != 2 or edges.shape[side] != 2:
        raise ValueError(f"{field} must have shape {'(2, E)' if side == 0 else '(E, 2)'}, got {edges.shape}; transpose it?")
    undirected = _integer(arrays, "undirected") != 0 if "undirected" in arrays else field == "edges"
    return (edges if side == 0 else edges.T), undirected


def _labels(y: np.ndarray, arrays: Arrays) -> tuple[Task, Tensor, int]:
    y = _check_kind(y, "y", "biuf")
    if y.ndim not in (1, 2):
        raise ValueError(f"y must have shape (N,) or (N, T), got {y.shape}.")
    missing = np.isnan(y)
    wide = y.ndim == 2 and y.shape[1] > 1
    known = y[~missing & (y >= 0)] if not wide else y[~missing]
    if y.dtype.kind == "f" and (y[~missing] != np.trunc(y[~missing])).any():
        looks = "regression"
    else:
        looks = "multilabel" if wide else "binary" if np.isin(known, (0, 1)).all() else "multiclass"
    task = _text(arrays, "task", looks)
    if task not in DEFAULT_METRIC:
        raise ValueError(f"task must be one of {', '.join(DEFAULT_METRIC)}, got {task[:50]!r}.")
    if task == "regression":
        targets = to_float32(np.where(missing, 0, y).reshape(len(y), -1), "y")
        targets[missing.reshape(len(y), -1)] = np.nan
        return task, torch.from_numpy(targets), targets.shape[1]
    if task == "multilabel":
        matrix = y.reshape(len(y), -1).astype(np.float32)
        return task, torch.from_numpy(matrix), matrix.shape[1]
    if wide:
        raise ValueError(f"y of shape {y.shape} is not {task}; that takes one label a node, shape (N,).")
    column = np.where(missing, -1, y).reshape(-1)
    bad = (column != np.trunc(column)) | (column >= 2**63)
    if bad.any():
        raise ValueError(f"label {column[bad][0]} is not a class; classes are integers from 0.")
    labels = torch.from_numpy(column.astype(np.int64))
    if task == "binary":
        return task, labels, 1
    return task, labels, _num_classes(labels.numpy(), arrays)  # type: ignore[return-value] - NodeDataset checks the task


def _num_classes(labels: np.ndarray, arrays: Arrays) -> int:
    """Return the stored number of classes, or the largest label plus one if that is plausible."""
    present = np.unique(labels[labels >= 0])
    largest = int(present[-1]) if len(present) else -1
    num_classes = _integer(arrays, "num_classes") if "num_classes" in arrays else largest + 1
    if "num_classes" not in arrays and num_classes > _MANY_CLASSES and 2 * len(present) < num_classes:
        seen = ", ".join([*map(str, present[:-1][:3]), *(["..."] if len(present) > 4 else []), str(largest)])
        hint = "a missing label that became unsigned is written -1" if largest in (255, 65_535, 2**32 - 1) else "number them from 0"
        raise ValueError(
            f"labels y are {seen}: {num_classes} classes, of which only {len(present)} occur. Are they classes? "
            f"If so, {hint}, or give num_classes."
        )
    empty = num_classes - len(present[present < num_classes])
    if empty > 0 and len(present):
        warnings.warn(f"{empty} of {num_classes} classes occur at no node; the network has outputs for them.", stacklevel=7)
    return num_classes


def _integer(arrays: Arrays, name: str) -> int:
    array = arrays[name]
    if array.size != 1 or array.dtype.kind not in "biuf" or not (np.abs(array.astype(np.float64)) < 2**31).all():
        raise ValueError(f"{name} must be a single whole number below 2^31, got {array.dtype} of shape {array.shape}.")
    return int(array.reshape(-1)[0])


def _text(arrays: Arrays, name: str, default: str) -> str:
    if name not in arrays:
        return default
    array = arrays[name]
    if array.size != 1 or array.dtype.kind != "U":
        raise ValueError(f"{name} must be a single string, got {array.dtype} of shape {array.shape}.")
    return str(array.reshape(-1)[0])


def _splits(arrays: Arrays, labels: Tensor, split: int) -> tuple[Split, ...]:
    given = [part for part in ("train", "valid", "test") if part in arrays]
    if not given:
        has_label = ~labels.isnan().all(1) if labels.dim() == 2 else labels >= 0
        return random_splits(has_label.numpy(), max(10, split + 1))
    if "train" not in given:
        raise ValueError(f"there are {' and '.join(given)} nodes but no training nodes; add train_mask or train_idx.")
    return splits_of_arrays(arrays, len(labels))


def splits_of_arrays(arrays: Arrays, num_rows: int) -> tuple[Split, ...]:
    """Return the splits in the arrays `train`, `valid` and `test`, of which the first is there; a missing one is empty.

    Args:
        arrays: integer, (M,), numbers of nodes; or bool, (N,), (S, N) or (N, S).
        num_rows: N, the number of nodes, or of what else labels belong to.

    Raises:
        ValueError: if an array does not fit N, or they hold different numbers of splits.
    """
    masks = [_masks(arrays[part], part, num_rows) if part in arrays else None for part in ("train", "valid", "test")]
    count = {len(mask) for mask in masks if mask is not None}
    if len(count) > 1:
        raise ValueError(f"train, valid and test masks must hold the same number of splits, got {sorted(count)}.")
    empty = np.zeros((count.pop(), num_rows), bool)
    return splits_from_masks(*(empty if mask is None else mask for mask in masks))


def _masks(array: np.ndarray, part: str, num_nodes: int) -> np.ndarray:
    """Return the part's nodes in each of S splits: bool, (S, N)."""
    if array.dtype == bool and array.shape[-1:] == (num_nodes,):
        return array.reshape(-1, num_nodes)
    if array.dtype == bool and array.ndim == 2 and array.shape[0] == num_nodes:
        return array.T
    if array.dtype.kind in "iu" and array.ndim == 1:
        # A mask of 0 and 1, read as node numbers, names nodes 0 and 1 many times: an error below.
        outside = array[(array < 0) | (array >= num_nodes)]
        if len(outside):
            raise ValueError(f"{part} names node {outside[0]}, but there are {num_nodes} nodes.")
        mask = np.zeros((1, num_nodes), bool)
        mask[0, array] = True
        if mask.sum() != len(array):
            raise ValueError(f"{part} names a node more than once; if it is a mask of 0 and 1, save it as bool.")
        return mask
    raise ValueError(
        f"{part} must be bool of shape ({num_nodes},), (S, {num_nodes}) or ({num_nodes}, S), or a vector of node numbers; "
        f"got {array.dtype} of shape {array.shape}."
    )


def _check_kind(array: np.ndarray, name: str, kinds: str) -> np.ndarray:
    """Return the array, or raise `ValueError` if its dtype is not of one of these NumPy kinds."""
    if array.dtype.kind not in kinds:
        raise ValueError(f"{name} must be {'integers' if kinds == 'iu' else 'numbers'}, got {array.dtype}.")
    return array
