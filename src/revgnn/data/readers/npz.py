"""Data sets in users' own `.npz` files, with the arrays below. Nothing is unpickled.

| array | shape and type | other names | if left out |
| --- | --- | --- | --- |
| `edge_index` | (2, E) integer, sources and destinations | `edges`, (E, 2) | an error |
| `undirected` | bool: add the reverse of every edge, keep each once | | true for `edges`, false for `edge_index` |
| `y` | (N,) integer, -1 = unlabelled; (N, T) 0 / 1, or numbers; NaN = unlabelled | `labels`, `label`, `node_label(s)` | an error |
| `x` | (N, F) numbers | `node_features`, `node_feat`, `features` | sum of the features of incoming edges, or log(1 + in-degree) |
| `edge_attr` | (E,) or (E, K) numbers; averaged where a pair is stored twice | `edge_features`, `edge_feat` | none |
| `species` | (N,) integer, a category of each node | `node_species` | none |
| `graph_of_node` | (N,) integer, ascending from 0; `y` and masks are then those of graphs | `graph_indicator` | labels of nodes |
| `pairs` | (2, P) integer, two nodes each; `y` and masks are then those of pairs, such as edges | | labels of nodes |
| `train_mask` | bool (N,), (S, N) or (N, S), S splits; or (M,) numbers | `train_masks`, `train_idx`, `train` | 10 random splits |
| `valid_mask`, `test_mask` | likewise | likewise; `val` for `valid` | |
| `task` | "multiclass", "binary", "multilabel" or "regression" | | by the shape and values of `y` |
| `metric` | one of `revgnn.data.Metric` | | accuracy for multiclass, mae for regression, else rocauc |
| `num_classes` | integer | | the largest label plus one |
| `task_names` | (T,) strings | | none |
| `name`, `source`, `licence` | strings | | the file's name, nothing, nothing |

Arrays of any other name are an error, unless they hold strings or `ignore_unknown` is given. `save_npz` writes this form.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Set
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from revgnn.data.build_graph import build_graph
from revgnn.data.dataset import DEFAULT_METRIC, NodeDataset, Split, Task, TaskSetting
from revgnn.data.many_graphs import ManyGraphs
from revgnn.data.node_features import default_node_features
from revgnn.data.numbers import to_float32
from revgnn.data.pairs import Pairs
from revgnn.data.readers.npz_archive import open_npz, read_array
from revgnn.data.splits import random_splits, splits_from_masks
from revgnn.files import replacing

_ALIASES: dict[str, tuple[str, ...]] = {
    "edge_index": ("edge_index",),
    "edges": ("edges",),
    "undirected": ("undirected",),
    "y": ("y", "labels", "label", "node_labels", "node_label"),
    "x": ("x", "node_features", "node_feat", "features"),
    "edge_attr": ("edge_attr", "edge_features", "edge_feat"),
    "species": ("species", "node_species"),
    "graph_of_node": ("graph_of_node", "graph_indicator"),
    "pairs": ("pairs",),
    "train": ("train_mask", "train_masks", "train_idx", "train"),
    "valid": ("valid_mask", "val_mask", "valid_masks", "val_masks", "valid_idx", "val_idx", "valid", "val"),
    "test": ("test_mask", "test_masks", "test_idx", "test"),
    "task": ("task",),
    "metric": ("metric",),
    "num_classes": ("num_classes",),
    "task_names": ("task_names",),
    "name": ("name",),
    "source": ("source",),
    "licence": ("licence", "license"),
}

_NAMES_ELSEWHERE: dict[str, tuple[str, ...]] = {
    "x": ("feat", "feats", "feature", "attr", "node_attr", "attr_matrix", "node_features_matrix", "embeddings"),
    "y": ("target", "targets", "class", "classes", "local_info"),
    "edge_index": ("adj", "adjacency", "edge_list", "edgelist", "adj_indices"),
    "edge_attr": ("edge_weight", "edge_weights", "weight", "weights", "efeat"),
    "train_idx": ("idx_train", "train_nodes", "train_index", "train_indices", "train_ids"),
    "valid_idx": ("idx_val", "idx_valid", "val_nodes", "valid_nodes", "val_index", "val_indices", "val_ids", "dev_idx"),
    "test_idx": ("idx_test", "test_nodes", "test_index", "test_indices", "test_ids"),
    "num_classes": ("n_classes", "num_class", "n_labels"),
}
"""Names that other programs use for these arrays. They are not read: their form may differ. An error suggests ours."""

_TEXT_FIELDS = frozenset({"task", "metric", "task_names", "name", "source", "licence", "license"})

_MANY_CLASSES = 100
"""Above this, labels of which fewer than half of the classes occur are taken for something else, such as years."""


def read_npz(
    path: Path,
    *,
    undirected: bool | None = None,
    self_loops: bool | None = None,
    ignore_unknown: bool = False,
    split: int = 0,
    task: TaskSetting | None = None,
) -> NodeDataset:
    """Read a data set from a file with the arrays above.

    Args:
        path: the file.
        undirected: replaces the file's own `undirected`.
        self_loops: see `build_graph`; default: as stored.
        ignore_unknown: skip arrays whose names are not in the table, instead of raising.
        split: number of the split in use.
        task: replaces the file's own `task`, and what the labels look like.

    Raises:
        ValueError: if the file is missing or damaged, or an array is missing, occurs under two names, has an unknown name, holds
            Python objects, or is not as the table says.
    """
    arrays = _read_fields(path, ignore_unknown)
    if task == "edges":
        raise ValueError(f"{path}: labels of edges are those of an array pairs in .npz files; leave --task out.")
    if task == "links":
        arrays = _without_labels(arrays)
    elif task is not None:
        arrays["task"] = np.array(task)
    if "y" not in arrays:
        raise ValueError(f"{path} has no labels; it needs an array y (or {', '.join(_ALIASES['y'][1:])}).")
    try:
        return _dataset(arrays, path, undirected, self_loops, split, trainable=task != "links")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def save_npz(dataset: NodeDataset, path: Path | str) -> None:
    """Write a data set so that `read_npz` returns the same. Splits become masks, so that the order of their nodes is lost."""
    path = Path(path)
    if dataset.pairs is not None and dataset.pairs.draws_negatives:
        raise ValueError(f"{dataset.name}: links are split when a graph is loaded (task links); save the graph instead.")
    graph = dataset.graph
    arrays: dict[str, Any] = {
        "edge_index": torch.stack([graph.src, graph.dst]),
        "undirected": False,
        "edge_attr": graph.edge_features(torch.float32),
        "x": dataset.x,
        "species": dataset.species,
        "y": dataset.y,
        "graph_of_node": None if dataset.graphs is None else dataset.graphs.graph_of_node,
        "pairs": None if dataset.pairs is None else dataset.pairs.ends,
        "task": dataset.task,
        "metric": dataset.metric,
        "num_classes": dataset.num_outputs if dataset.task == "multiclass" else None,
        "task_names": dataset.task_names,
        "name": dataset.name,
        "source": dataset.source,
        "licence": dataset.licence,
    }
    for part in ("train", "valid", "test"):
        masks = np.zeros((len(dataset.splits), dataset.num_rows), bool)
        for row, split in zip(masks, dataset.splits, strict=True):
            row[getattr(split, part).numpy()] = True
        arrays[f"{part}_masks"] = masks
    plain = {key: np.asarray(value) for key, value in arrays.items() if value is not None}
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **plain)  # type: ignore[arg-type] - no array is named allow_pickle


# --- reading ------------------------------------------------------------------------------------------------------------


def _read_fields(path: Path, ignore_unknown: bool) -> dict[str, np.ndarray]:
    """Return the known arrays by their field."""
    with open_npz(path) as archive:
        arrays: dict[str, np.ndarray] = {}
        for field, names in _ALIASES.items():
            found = [name for name in names if name in archive]
            if len(found) > 1:
                raise ValueError(f"{path} holds {' and '.join(found)}, which mean the same; keep one.")
            if found:
                arrays[field] = read_array(archive, found[0], path)
        known = {name for names in _ALIASES.values() for name in names}
        unknown = [] if ignore_unknown else [key for key in archive.files if key not in known]
        for key in unknown:
            is_text = read_array(archive, key, path).dtype.kind == "U"
            near = _nearest_name(key, _TEXT_FIELDS if is_text else known)
            if is_text and near is None:
                continue  # a comment, or names of nodes
            guess = f"did you mean {near!r}?" if near else f"known are {', '.join(_ALIASES)}."
            raise ValueError(
                f"{path} holds an array {key!r}; {guess} Nothing reads {key!r}: rename it, remove it from the file, or call "
                "load(..., ignore_unknown=True)."
            )
    return arrays


def _nearest_name(key: str, known: Set[str]) -> str | None:
    """Return the name that an array of an unknown name most likely should have, or None."""
    plain = key.casefold().replace("-", "_").replace(" ", "_")
    if plain in known:
        return plain
    for name, names_elsewhere in _NAMES_ELSEWHERE.items():
        if plain in names_elsewhere:
            return name
    return next(iter(difflib.get_close_matches(plain, sorted(known), n=1, cutoff=0.75)), None)


def _dataset(
    arrays: dict[str, np.ndarray], path: Path, undirected: bool | None, self_loops: bool | None, split: int, *, trainable: bool
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


def _without_labels(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays of the graph alone, with a label of no node."""
    if "graph_of_node" in arrays:
        raise ValueError("the file holds many small graphs; links are those of one graph.")
    graph = ("edge_index", "edges", "undirected", "x", "edge_attr", "species", "name", "source", "licence")
    num_nodes = len(arrays["y"]) if "y" in arrays and "pairs" not in arrays else _num_nodes(arrays)
    return {key: arrays[key] for key in graph if key in arrays} | {"y": np.full(num_nodes, -1), "task": np.array("binary")}


def _num_nodes(arrays: dict[str, np.ndarray]) -> int:
    """Return the number of nodes where `y` has no row for each: that of `x` or `species`, or one more than edges name."""
    for name in ("x", "species"):
        if name in arrays:
            return len(arrays[name])
    return max((int(arrays[name].max(initial=-1)) + 1 for name in ("edge_index", "edges", "pairs") if name in arrays), default=0)


def _edges(arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, bool]:
    if ("edge_index" in arrays) == ("edges" in arrays):
        raise ValueError("one array of edges is needed: edge_index of shape (2, E), or edges of shape (E, 2).")
    field = "edge_index" if "edge_index" in arrays else "edges"
    edges = _check_kind(arrays[field], field, "iu")
    side = 0 if field == "edge_index" else 1
    if edges.ndim != 2 or edges.shape[side] != 2:
        raise ValueError(f"{field} must have shape {'(2, E)' if side == 0 else '(E, 2)'}, got {edges.shape}; transpose it?")
    undirected = _integer(arrays, "undirected") != 0 if "undirected" in arrays else field == "edges"
    return (edges if side == 0 else edges.T), undirected


def _labels(y: np.ndarray, arrays: dict[str, np.ndarray]) -> tuple[Task, Tensor, int]:
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


def _num_classes(labels: np.ndarray, arrays: dict[str, np.ndarray]) -> int:
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
        warnings.warn(f"{empty} of {num_classes} classes occur at no node; the network has outputs for them.", stacklevel=6)
    return num_classes


def _integer(arrays: dict[str, np.ndarray], name: str) -> int:
    array = arrays[name]
    if array.size != 1 or array.dtype.kind not in "biuf" or not (np.abs(array.astype(np.float64)) < 2**31).all():
        raise ValueError(f"{name} must be a single whole number below 2^31, got {array.dtype} of shape {array.shape}.")
    return int(array.reshape(-1)[0])


def _text(arrays: dict[str, np.ndarray], name: str, default: str) -> str:
    if name not in arrays:
        return default
    array = arrays[name]
    if array.size != 1 or array.dtype.kind != "U":
        raise ValueError(f"{name} must be a single string, got {array.dtype} of shape {array.shape}.")
    return str(array.reshape(-1)[0])


def _splits(arrays: dict[str, np.ndarray], labels: Tensor, split: int) -> tuple[Split, ...]:
    given = [part for part in ("train", "valid", "test") if part in arrays]
    if not given:
        has_label = ~labels.isnan().all(1) if labels.dim() == 2 else labels >= 0
        return random_splits(has_label.numpy(), max(10, split + 1))
    if "train" not in given:
        raise ValueError(f"there are {' and '.join(given)} nodes but no training nodes; add train_mask or train_idx.")
    masks = [_masks(arrays[part], part, len(labels)) if part in arrays else None for part in ("train", "valid", "test")]
    count = {len(mask) for mask in masks if mask is not None}
    if len(count) > 1:
        raise ValueError(f"train, valid and test masks must hold the same number of splits, got {sorted(count)}.")
    empty = np.zeros((count.pop(), len(labels)), bool)
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
