"""A fingerprint of a data set: a hash of each of its parts, to find out later whether data are the same, and what has changed.

Paths, names and times do not count, only content: the same data on another machine have the same fingerprint. Hashing reads every
array once, several blocks at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from revgnn.data.dataset import NodeDataset

Fingerprint = Mapping[str, str]
"""The hash of each part in `PARTS`, and the version of the rule."""

VERSION = "1"
"""To be raised if the same data would have another fingerprint."""

PARTS = {
    "graph": "the graph",
    "edge_features": "edge features",
    "node_features": "node features",
    "labels": "labels",
    "train": "training nodes",
    "valid": "validation nodes",
    "test": "test nodes",
}
"""The parts of a fingerprint, as they are called in messages."""

_BLOCK = 1 << 22


def fingerprint(dataset: NodeDataset) -> dict[str, str]:
    """Return the fingerprint of a data set and its split in use.

    Node features are those of `dataset`: pass it before they are scaled, since the last digits of a sum depend on the machine.
    """
    graph, split = dataset.graph, dataset.split
    return {
        "version": VERSION,
        "graph": _hash(graph.indptr, graph.src, *_owners(dataset)),
        "edge_features": _hash(graph.edge_attr, text=str(graph.edge_scale)),
        "node_features": _hash(dataset.x, dataset.species, text=str(dataset.num_species)),
        "labels": _hash(dataset.y, text=f"{dataset.task} {dataset.num_outputs} {dataset.metric}"),
        # In training only membership counts, not the order.
        **{name: _hash(nodes.sort().values) for name, nodes in vars(split).items()},
    }


def _owners(dataset: NodeDataset) -> list[Tensor]:
    """Return what the rows of labels belong to, if they are not those of nodes."""
    parts = [] if dataset.graphs is None else [dataset.graphs.graph_of_node]
    return parts if dataset.pairs is None else [*parts, dataset.pairs.ends]


def changed_parts(before: Fingerprint, now: Fingerprint) -> list[str]:
    """Return the names of the parts that differ; none if the data are the same."""
    return [name for part, name in PARTS.items() if before.get(part) != now.get(part)]


def _hash(*tensors: Tensor | None, text: str = "") -> str:
    """Return the BLAKE2b hash of tensors with their dtypes and shapes, in hexadecimal digits."""
    total = hashlib.blake2b(text.encode(), digest_size=16)
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        for tensor in tensors:
            if tensor is None:
                total.update(b"none")
                continue
            total.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
            blocks = (content[start : start + _BLOCK] for start in range(0, content.size, _BLOCK))
            for digest in pool.map(lambda block: hashlib.blake2b(block.data, digest_size=16).digest(), blocks):
                total.update(digest)
    return total.hexdigest()
