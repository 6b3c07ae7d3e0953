"""The sets that PyTorch Geometric calls Planetoid, Amazon and HeterophilousGraphDataset, from their raw files.

The result is that of PyTorch Geometric (tests compare the two), but the reader writes no `processed/` folder, so that the data
may be read-only, and does not run the pickles.

- Planetoid (Yang et al. 2016, arXiv:1603.08861): Cora, CiteSeer, PubMed; the public split.
- Amazon (Shchur et al. 2018, arXiv:1811.05868): Computers, Photo; no published split: random 60/20/20, split `s` with seed `s`.
- Heterophilous (Platonov et al. 2023, arXiv:2302.11640): Tolokers, Minesweeper, Questions, Roman-empire, Amazon-ratings;
  10 published splits.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.sparse
import torch

from revgnn.data.build_graph import build_graph
from revgnn.data.catalogue import Entry, catalogue, find_entry
from revgnn.data.dataset import DEFAULT_METRIC, NodeDataset, Split, Task
from revgnn.data.numbers import to_float32
from revgnn.data.readers.format import Format
from revgnn.data.readers.npz_archive import open_npz, read_array
from revgnn.data.readers.shchur import read_shchur
from revgnn.data.readers.unpickle import read_pickle
from revgnn.data.splits import random_splits, splits_from_masks

PLANETOID = ("cora", "citeseer", "pubmed")
AMAZON = ("computers", "photo")
HETEROPHILOUS = ("tolokers", "minesweeper", "questions", "roman-empire", "amazon-ratings")


def raw_files(name: str) -> dict[str, str]:
    """Return the address of each raw file, by its path within the data set's folder. The first path identifies the set."""
    if name in PLANETOID:
        parts = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")
        return {f"raw/ind.{name}.{p}": f"https://github.com/kimiyoung/planetoid/raw/master/data/ind.{name}.{p}" for p in parts}
    if name in AMAZON:
        file = f"amazon_electronics_{name}.npz"
        return {f"raw/{file}": f"https://github.com/shchur/gnn-benchmark/raw/master/data/npz/{file}"}
    file = f"{name.replace('-', '_')}.npz"
    return {f"raw/{file}": f"https://github.com/yandex-research/heterophilous-graphs/raw/main/data/{file}"}


def find_raw(folder: Path) -> Entry | None:
    """Return the set of which `folder` holds the raw files, or None."""
    entries = (entry for entry in catalogue() if entry.kind in ("planetoid", "amazon", "heterophilous"))
    return next((entry for entry in entries if (folder / next(iter(raw_files(entry.name)))).is_file()), None)


def read_pyg(
    folder: Path,
    name: str,
    *,
    num_splits: int = 10,
    undirected: bool | None = None,
    self_loops: bool | None = None,
    split: int = 0,
) -> NodeDataset:
    """Read one of the sets above from the folder that holds its `raw/`.

    Args:
        folder: for example `Cora`.
        name: lower case, one of `PLANETOID`, `AMAZON`, `HETEROPHILOUS`.
        num_splits: number of random splits, for Amazon.
        undirected: add reverse edges and keep each once; default True.
        self_loops: see `build_graph`; default: dropped (Planetoid, Amazon), as stored (heterophilous), as in PyTorch Geometric.
        split: number of the split in use.

    Raises:
        ValueError: if a file is missing or damaged, or the files do not fit together.
    """
    undirected = True if undirected is None else undirected
    if name in PLANETOID:
        arrays = _read_planetoid(folder, name)
    elif name in AMAZON:
        arrays = _read_amazon(folder / next(iter(raw_files(name))), num_splits)
    else:
        arrays = _read_heterophilous(folder / next(iter(raw_files(name))))
    if name not in HETEROPHILOUS:
        self_loops = bool(self_loops)
    try:
        return _dataset(name, arrays, undirected, self_loops, split)
    except (ValueError, TypeError, IndexError) as error:
        raise ValueError(f"{folder}: {error}") from None


class _Arrays(NamedTuple):
    """The contents of the raw files."""

    edges: np.ndarray
    """Integer, (2, E)."""
    x: np.ndarray
    labels: np.ndarray
    splits: tuple[Split, ...]


def _read_planetoid(folder: Path, name: str) -> _Arrays:
    """Read the files x, y: labelled training nodes; allx, ally: all but test nodes; tx, ty: test nodes in test.index's order."""
    parts = ("y", "tx", "allx", "ty", "ally", "graph")
    *matrices, adjacency = (read_pickle(folder / "raw" / f"ind.{name}.{part}") for part in parts)
    try:
        y, tx, allx, ty, ally = (_dense(matrix) for matrix in matrices)
        test = np.loadtxt(folder / "raw" / f"ind.{name}.test.index", dtype=np.int64)
        # The numbers of CiteSeer's test nodes have gaps: isolated nodes without features or labels. They get zeros and -1 here.
        num_nodes = max(len(allx), int(test.max()) + 1)
        x = np.zeros((num_nodes, allx.shape[1]), np.float32)
        one_hot = np.zeros((num_nodes, ally.shape[1]), np.float32)
        x[: len(allx)], one_hot[: len(ally)] = allx, ally
        x[test], one_hot[test] = tx, ty
        src = np.repeat(np.fromiter(adjacency.keys(), np.int64), [len(neighbours) for neighbours in adjacency.values()])
        dst = np.concatenate([np.asarray(neighbours, np.int64) for neighbours in adjacency.values()])
    except (ValueError, IndexError, AttributeError, TypeError, OSError) as error:
        raise ValueError(f"the files in {folder / 'raw'} do not fit together as a Planetoid set: {error}") from None
    labels = np.where(one_hot.any(axis=1), one_hot.argmax(axis=1), -1)
    split = Split(torch.arange(len(y)), torch.arange(len(y), len(y) + 500), torch.from_numpy(test))
    return _Arrays(np.stack([src, dst]), x, labels, (split,))


def _read_amazon(path: Path, num_splits: int) -> _Arrays:
    arrays = read_shchur(path)
    splits = random_splits(np.ones(len(arrays["y"]), bool), num_splits)
    return _Arrays(arrays["edge_index"], arrays["x"], arrays["y"], splits)


def _read_heterophilous(path: Path) -> _Arrays:
    with open_npz(path) as data:
        x, labels, edges = (read_array(data, key, path) for key in ("node_features", "node_labels", "edges"))
        masks = (read_array(data, f"{part}_masks", path) for part in ("train", "val", "test"))
        try:
            splits = splits_from_masks(*masks)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: masks do not fit together: {error}") from None
    return _Arrays(edges.T, x, labels, splits)


def _dataset(name: str, arrays: _Arrays, undirected: bool, self_loops: bool | None, split: int) -> NodeDataset:
    entry, x, labels = find_entry(name), arrays.x, arrays.labels
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not labels.size:
        raise ValueError(f"labels must be integers of shape (N,), got {labels.dtype} of shape {labels.shape}.")
    num_classes = int(labels.max()) + 1
    task: Task = "binary" if num_classes == 2 else "multiclass"
    return NodeDataset(
        name=name,
        graph=build_graph(arrays.edges, len(x), undirected=undirected, self_loops=self_loops),
        x=torch.from_numpy(to_float32(x, "x")),
        y=torch.from_numpy(labels.astype(np.int64)),
        task=task,
        num_outputs=1 if task == "binary" else num_classes,
        metric=DEFAULT_METRIC[task],
        splits=arrays.splits,
        split_index=split,
        source=entry.source if entry else "",
        licence=entry.licence if entry else "",
    )


def _dense(matrix: np.ndarray | scipy.sparse.csr_matrix) -> np.ndarray:
    out = matrix.toarray() if isinstance(matrix, scipy.sparse.csr_matrix) else matrix
    if not isinstance(out, np.ndarray) or out.ndim != 2:
        raise ValueError(f"a matrix was expected, got {type(out).__name__}")
    return out.astype(np.float32)


FORMAT = Format(
    name="PyTorch Geometric's raw layout",
    endings=(),
    holds="a folder with `raw/` of Planetoid, Amazon or HeterophilousGraphDataset",
    gives="folder",
    fits=lambda path: find_raw(path) is not None,
)
