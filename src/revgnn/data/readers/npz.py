"""Data sets in users' own `.npz` files, with the arrays below. Nothing is unpickled.

| array | shape and type | other names | if left out |
| --- | --- | --- | --- |
| `edge_index` | (2, E) integer, sources and destinations | `edges`, (E, 2) | an error |
| `undirected` | bool: add the reverse of every edge, keep each once | | true for `edges`, false for `edge_index` |
| `y` | (N,) integer, -1 = none; (N, T) 0 / 1, or numbers; NaN = none | `labels`, `label`, `node_label(s)`, `target` | an error |
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
from collections.abc import Set
from pathlib import Path
from typing import Any

import numpy as np
import torch

from revgnn.data.dataset import NodeDataset, TaskSetting
from revgnn.data.readers.arrays import dataset_of_arrays
from revgnn.data.readers.format import Arrays, Format
from revgnn.data.readers.npz_archive import open_npz, read_array
from revgnn.files import replacing

_ALIASES: dict[str, tuple[str, ...]] = {
    "edge_index": ("edge_index",),
    "edges": ("edges",),
    "undirected": ("undirected",),
    "y": ("y", "labels", "label", "node_labels", "node_label", "target"),
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
    "y": ("targets", "class", "classes", "local_info"),
    "edge_index": ("adj", "adjacency", "edge_list", "edgelist", "adj_indices"),
    "edge_attr": ("edge_weight", "edge_weights", "weight", "weights", "efeat"),
    "train_idx": ("idx_train", "train_nodes", "train_index", "train_indices", "train_ids"),
    "valid_idx": ("idx_val", "idx_valid", "val_nodes", "valid_nodes", "val_index", "val_indices", "val_ids", "dev_idx"),
    "test_idx": ("idx_test", "test_nodes", "test_index", "test_indices", "test_ids"),
    "num_classes": ("n_classes", "num_class", "n_labels"),
}
"""Names that other programs use for these arrays. They are not read: their form may differ. An error suggests ours."""

_TEXT_FIELDS = frozenset({"task", "metric", "task_names", "name", "source", "licence", "license"})


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
    arrays = read_fields(path, ignore_unknown)
    if "y" not in arrays and task != "links":
        raise ValueError(f"{path} has no labels; it needs an array y (or {', '.join(_ALIASES['y'][1:])}).")
    return dataset_of_arrays(arrays, path, undirected=undirected, self_loops=self_loops, split=split, task=task)


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


def read_fields(path: Path, ignore_unknown: bool = False) -> Arrays:
    """Return the known arrays by their field; raise `ValueError` as `read_npz` does."""
    with open_npz(path) as archive:
        arrays: Arrays = {}
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


FORMAT = Format(
    name="npz",
    endings=(".npz",),
    holds="the arrays of the table below",
    gives="arrays",
    read=read_fields,
)
