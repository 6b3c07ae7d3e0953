"""Node property sets of the Open Graph Benchmark (Hu et al. 2020, arXiv:2005.00687), and any folder in their raw layout.

Read from `raw/` and `split/` directly; the `ogb` package is not needed, nothing is written beside the data, and nothing is
unpickled but tensors and arrays (`split_dict.pt`, under torch's own restricted loader).

What the paper does to them (arXiv:2106.07476, its code): ogbn-proteins has no node features, so a node gets the sum of the features
of its edges, and its species as a category; ogbn-arxiv is made undirected, with self-loops; ogbn-products gets self-loops.
Deviation: a node that has a loop already gets no second one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from revgnn.data.catalogue import find_entry
from revgnn.data.dataset import Metric, NodeDataset, Split, Task
from revgnn.data.readers.csv import read_csv
from revgnn.data.readers.edges import build_graph, features_of
from revgnn.data.readers.locate import open_npz, read_array
from revgnn.graph import edge_storage


class OGBMeta(NamedTuple):
    """What the files do not say themselves: the part of OGB's `meta_dict` that is needed to read a set."""

    num_tasks: int
    num_classes: int
    task_type: str
    eval_metric: str
    split: str
    add_inverse_edge: bool
    binary: bool
    is_hetero: bool = False
    download_name: str = ""
    url: str = ""


_URL = "http://snap.stanford.edu/ogb/data/nodeproppred"
OFFICIAL: dict[str, OGBMeta] = {
    "ogbn-proteins": OGBMeta(
        112, 2, "binary classification", "rocauc", "species", True, False, False, "proteins", f"{_URL}/proteins.zip"
    ),
    "ogbn-products": OGBMeta(
        1, 47, "multiclass classification", "acc", "sales_ranking", True, False, False, "products", f"{_URL}/products.zip"
    ),
    "ogbn-arxiv": OGBMeta(1, 40, "multiclass classification", "acc", "time", False, False, False, "arxiv", f"{_URL}/arxiv.zip"),
}
"""The sets of the paper, whose folders carry no meta_dict.json."""

UNDIRECTED = frozenset({"ogbn-arxiv"})
SELF_LOOPS = frozenset({"ogbn-arxiv", "ogbn-products"})


def read_ogb(
    folder: Path,
    name: str,
    *,
    split: str | None = None,
    undirected: bool | None = None,
    self_loops: bool | None = None,
    compress: bool = False,
) -> NodeDataset:
    """A data set from a folder that holds `raw/` and `split/`.

    Args:
        folder: as OGB unpacks it, for example `ogbn_arxiv`.
        name: "ogbn-arxiv" and the like: settles the preprocessing, and the meta data where there is no `meta_dict.json`.
        split: a folder below `split/`; default: the one that the meta data name.
        undirected, self_loops: see `build_graph`; default: the paper's for this set.
        compress: hold edge features in 16 bits from the start if nothing is lost (`Graph.compressed`), which needs less memory than
            to compress them in the end.

    Raises:
        ValueError: if a file is missing, damaged or inconsistent with the others, or the task is none of node classification.
    """
    meta = read_meta(folder, name)
    task, metric = _task_of(meta, name)
    raw = _read_npz(folder / "raw", meta, compress) if meta.binary else _read_csv(folder / "raw", meta, compress)
    entry = find_entry(name)
    graph = build_graph(
        raw.edge_index,
        raw.num_nodes,
        raw.edge_attr,
        undirected=name in UNDIRECTED if undirected is None else undirected,
        add_inverse=meta.add_inverse_edge,
        self_loops=(True if name in SELF_LOOPS else None) if self_loops is None else self_loops,
        edge_scale=raw.edge_scale,
    )
    species, num_species = None, 0
    if raw.species is not None:
        kinds, category = np.unique(raw.species, return_inverse=True)
        species, num_species = torch.from_numpy(category.reshape(-1).astype(np.int64)), len(kinds)
    return NodeDataset(
        name=name,
        graph=graph,
        x=features_of(graph) if raw.x is None else torch.from_numpy(raw.x),
        species=species,
        num_species=num_species,
        y=_labels(raw.y, task, folder),
        task=task,
        num_outputs={"binary": 1, "multilabel": meta.num_tasks, "multiclass": meta.num_classes}[task],
        metric=metric,
        splits=(read_split(folder, split or meta.split, named=split is not None),),
        source=entry.source if entry else str(folder),
        licence=entry.licence if entry else "",
    )


def read_meta(folder: Path, name: str) -> OGBMeta:
    """From `meta_dict.json`, or what is known of the official sets."""
    path = folder / "meta_dict.json"
    if not path.is_file():
        if name in OFFICIAL:
            return OFFICIAL[name]
        raise ValueError(f"{folder} has no meta_dict.json, which all but {', '.join(OFFICIAL)} need to say what their files mean.")
    try:
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return OGBMeta(
            num_tasks=int(stored["num tasks"]),
            num_classes=int(stored["num classes"]),
            task_type=stored["task type"],
            eval_metric=stored["eval metric"],
            split=stored["split"],
            add_inverse_edge=stored["add_inverse_edge"] == "True",
            binary=stored["binary"] == "True",
            is_hetero=stored.get("is hetero", "False") == "True",
        )
    except KeyError as error:
        raise ValueError(f"{path} has no entry {error}; it must say what OGB's meta_dict says.") from None
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None


def read_split(folder: Path, split: str, *, named: bool = True) -> Split:
    """The split stored in `split/<split>`, as `split_dict.pt` or three csv.gz files. Unless `named`, the only one will do."""
    path = folder / "split" / split
    if not path.is_dir():
        known = sorted(p.name for p in (folder / "split").glob("*") if p.is_dir())
        if named or len(known) != 1:
            raise ValueError(f"{folder} has no split {split!r}; it has {', '.join(known) or 'none'}.")
        path = folder / "split" / known[0]
    if (path / "split_dict.pt").is_file():
        stored = _load_split_dict(path / "split_dict.pt")
        parts = [stored.get(part) for part in ("train", "valid", "test")]
        if not all(isinstance(part, Tensor | np.ndarray) for part in parts):
            raise ValueError(f"{path}: split_dict.pt must hold arrays train, valid and test, it has {', '.join(map(str, stored))}.")
        return Split(*(torch.as_tensor(part).to(torch.int64) for part in parts))
    columns = [read_csv(path / f"{part}.csv.gz", np.int64) for part in ("train", "valid", "test")]
    return Split(*(torch.from_numpy(column.reshape(-1)) for column in columns))


# --- the raw files ------------------------------------------------------------------------------------------------------


class _Raw(NamedTuple):
    num_nodes: int
    edge_index: np.ndarray
    edge_attr: np.ndarray | None
    edge_scale: float | None
    """Of `edge_attr`, where it is int16 in place of float32."""
    x: np.ndarray | None
    species: np.ndarray | None
    y: np.ndarray


def _read_csv(raw: Path, meta: OGBMeta, compress: bool) -> _Raw:
    num_nodes = _single(read_csv(raw / "num-node-list.csv.gz", np.int64), raw, "nodes")
    num_edges = _single(read_csv(raw / "num-edge-list.csv.gz", np.int64), raw, "edges")
    # First what takes most memory while it is read.
    edge_attr, edge_scale = _held(_read_if_there(raw / "edge-feat.csv.gz", num_edges), compress)
    edge = read_csv(raw / "edge.csv.gz", np.int64, num_edges).reshape(-1, 2).T
    species = next((p for p in (raw / "node_species.csv.gz", raw / "species.csv.gz") if p.is_file()), None)
    out = _Raw(
        num_nodes=num_nodes,
        edge_index=edge,
        edge_attr=edge_attr,
        edge_scale=edge_scale,
        x=_read_if_there(raw / "node-feat.csv.gz", num_nodes),
        species=None if species is None else read_csv(species, np.int64).reshape(-1),
        y=read_csv(raw / "node-label.csv.gz", np.float32),
    )
    return _checked(out, num_edges, raw)


def _read_npz(raw: Path, meta: OGBMeta, compress: bool) -> _Raw:
    path, labels = raw / "data.npz", raw / "node-label.npz"
    with open_npz(path) as data, open_npz(labels) as target:

        def optional(key: str, dtype: type[np.generic]) -> np.ndarray | None:
            return read_array(data, key, path).astype(dtype, copy=False) if key in data else None

        species = optional("node_species", np.int64)
        edge_attr, edge_scale = _held(optional("edge_feat", np.float32), compress)
        out = _Raw(
            num_nodes=_single(read_array(data, "num_nodes_list", path), raw, "nodes"),
            edge_index=read_array(data, "edge_index", path),
            edge_attr=edge_attr,
            edge_scale=edge_scale,
            x=optional("node_feat", np.float32),
            species=None if species is None else species.reshape(-1),
            y=read_array(target, "node_label", labels),
        )
        return _checked(out, _single(read_array(data, "num_edges_list", path), raw, "edges"), raw)


def _read_if_there(path: Path, rows: int) -> np.ndarray | None:
    return read_csv(path, np.float32, rows) if path.is_file() else None


def _held(edge_attr: np.ndarray | None, compress: bool) -> tuple[np.ndarray | None, float | None]:
    if edge_attr is None or not compress:
        return edge_attr, None
    features, scale = edge_storage.compress(torch.from_numpy(edge_attr), 1.0, "auto")
    return features.numpy(), scale if features.dtype == torch.int16 else None


def _single(counts: np.ndarray, raw: Path, what: str) -> int:
    if counts.size != 1:
        raise ValueError(f"{raw} holds {counts.size} graphs (by its list of numbers of {what}); a node set is one graph.")
    return int(counts.reshape(-1)[0])


def _checked(raw: _Raw, num_edges: int, folder: Path) -> _Raw:
    """The rows of all files agree; a cut-off download is noticed here."""
    if raw.edge_index.shape[1] != num_edges:
        raise ValueError(f"{folder}: {raw.edge_index.shape[1]} edges, but its list of sizes says {num_edges}; is a file cut off?")
    for what, rows in (("node features", raw.x), ("species", raw.species), ("labels", raw.y)):
        if rows is not None and len(rows) != raw.num_nodes:
            raise ValueError(f"{folder}: {what} of {len(rows)} nodes, but there are {raw.num_nodes}; is a file cut off?")
    return raw


def _task_of(meta: OGBMeta, name: str) -> tuple[Task, Metric]:
    metric = {"rocauc": "rocauc", "acc": "accuracy", "F1": "f1", "f1": "f1"}.get(meta.eval_metric)
    task = {
        ("binary classification", True): "binary",
        ("binary classification", False): "multilabel",
        ("multiclass classification", True): "multiclass",
    }.get((meta.task_type, meta.num_tasks == 1))
    if task is None or metric is None or meta.is_hetero:
        raise ValueError(
            f"{name}: {'a heterogeneous graph, ' if meta.is_hetero else ''}{meta.num_tasks} task(s) of {meta.task_type!r} scored "
            f"by {meta.eval_metric!r} cannot be trained on; node classification of one graph by rocauc, acc or F1 can."
        )
    return task, metric  # type: ignore[return-value] - both are values of the literal types


def _labels(y: np.ndarray, task: Task, folder: Path) -> Tensor:
    if task == "multilabel":
        return torch.from_numpy(y.astype(np.float32, copy=False))
    if y.reshape(len(y), -1).shape[1] != 1:
        raise ValueError(f"{folder}: labels of shape {y.shape} for one task; one column is wanted.")
    column = y.reshape(-1).astype(np.float64)
    return torch.from_numpy(np.where(np.isnan(column), -1, column).astype(np.int64))


def _load_split_dict(path: Path) -> dict[str, Any]:
    """OGB's own splits are pickles. Admitted are tensors, NumPy arrays and plain containers: what `DatasetSaver` writes."""
    multiarray = np._core.multiarray if hasattr(np, "_core") else np.core.multiarray  # type: ignore[attr-defined]
    rebuild = multiarray._reconstruct
    admitted = [np.ndarray, np.dtype, type(np.dtype(np.int64)), type(np.dtype(np.int32))]
    by_name = [(rebuild, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")]  # NumPy 1 and 2
    try:
        with torch.serialization.safe_globals([*admitted, *by_name]):
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or hostile pickle provokes
        reason = str(error).split("\n")[0]
        raise ValueError(f"{path} cannot be read as a split of plain arrays: {reason}") from None
    if not isinstance(stored, dict):
        raise ValueError(f"{path} must hold a dict of train, valid and test, got {type(stored).__name__}.")
    return stored
