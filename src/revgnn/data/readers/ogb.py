"""Node property sets of the Open Graph Benchmark (Hu et al. 2020, arXiv:2005.00687), and any folder in their raw layout.

The reader uses `raw/` and `split/` directly: it does not need the `ogb` package, writes nothing beside the data, and unpickles
only tensors and arrays (`split_dict.pt`, with torch's restricted loader).

The default preprocessing is that of the paper's code (arXiv:2106.07476). ogbn-proteins has no node features: a node gets the sum
of the features of its incoming edges, and its species as a category. ogbn-arxiv is made undirected and gets self-loops.
ogbn-products gets self-loops. Deviation: a node that has a self-loop already gets no second one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from revgnn.data.build_graph import build_graph
from revgnn.data.catalogue import find_entry
from revgnn.data.dataset import NodeDataset, Task
from revgnn.data.node_features import default_node_features
from revgnn.data.readers.format import Format
from revgnn.data.readers.ogb_files import read_raw, read_split
from revgnn.data.readers.ogb_meta import read_meta, task_and_metric

RAW_FILES = ("raw/edge.csv.gz", "raw/data.npz")
"""One of these marks a folder in OGB's layout."""

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
    """Read a data set from a folder that holds `raw/` and `split/`.

    Args:
        folder: as OGB unpacks it, for example `ogbn_arxiv`.
        name: for example "ogbn-arxiv": determines the preprocessing, and the meta data if there is no `meta_dict.json`.
        split: a folder below `split/`; default: the one that the meta data name.
        undirected, self_loops: see `build_graph`; default: the paper's for this set.
        compress: store edge features in 16 bits from the start if nothing is lost (`Graph.compressed`). This needs less memory than
            compressing the finished graph.

    Raises:
        ValueError: if a file is missing, damaged or inconsistent with the others, or the task is not node classification.
    """
    meta = read_meta(folder, name)
    task, metric = task_and_metric(meta, name)
    raw = read_raw(folder, binary=meta.binary, compress=compress)
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
        x=default_node_features(graph) if raw.x is None else torch.from_numpy(raw.x),
        species=species,
        num_species=num_species,
        y=_labels(raw.y, task, folder),
        task=task,
        num_outputs={"binary": 1, "multilabel": meta.num_tasks, "multiclass": meta.num_classes}[task],
        metric=metric,
        splits=(read_split(folder, split or meta.split, required=split is not None),),
        source=entry.source if entry else str(folder),
        licence=entry.licence if entry else "",
    )


def _labels(y: np.ndarray, task: Task, folder: Path) -> Tensor:
    if y.ndim not in (1, 2) or y.dtype.kind not in "biuf":
        raise ValueError(f"{folder}: labels must be numbers of shape (N, T), got {y.dtype} of shape {y.shape}.")
    if task == "multilabel":
        return torch.from_numpy(y.astype(np.float32, copy=False))
    if y.reshape(len(y), -1).shape[1] != 1:
        raise ValueError(f"{folder}: labels of shape {y.shape} for one task; one column is required.")
    column = y.reshape(-1).astype(np.float64)
    bad = ~np.isnan(column) & ((column != np.trunc(column)) | np.isinf(column))
    if bad.any():
        raise ValueError(
            f"{folder}: label {column[bad][0]} of node {int(bad.argmax())} is not a class; classes are integers from 0."
        )
    return torch.from_numpy(np.where(np.isnan(column), -1, column).astype(np.int64))


FORMAT = Format(
    name="OGB's layout",
    endings=(),
    holds="a folder with `raw/` and `split/`",
    gives="folder",
    fits=lambda path: any((path / name).is_file() for name in RAW_FILES),
)
