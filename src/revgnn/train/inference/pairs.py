"""A table of pairs of nodes that a user wants predictions for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from revgnn.data import NodeDataset, Pairs, Split


def with_pairs(dataset: NodeDataset, path: Path) -> NodeDataset:
    """Return the data set with the pairs of a table, without labels, in place of its own.

    The two nodes are in columns named like the ends of the edges, or source and target; else in the first two columns. They are ids
    of the tables of the run, or numbers of nodes if its data have no ids.

    Raises:
        ValueError: if the run has no logits of pairs, or naming the first row with an unknown node.
    """
    # Only here: pyarrow takes a moment to import.
    import pyarrow as pa

    from revgnn.data.tables import ids
    from revgnn.data.tables.arrow import shown
    from revgnn.data.tables.reading import read_table

    if dataset.pairs is None:
        raise ValueError(f"{dataset.name} has labels of {dataset.row}s, so there are no pairs to predict; leave --pairs out.")
    table, _ = read_table(path, drop_bad_rows=False)
    names = [*end_columns(dataset)]
    if not set(names) <= set(table.column_names):
        names = ["source", "target"] if {"source", "target"} <= set(table.column_names) else table.column_names[:2]
    if len(names) < 2:
        raise ValueError(f"{path} has the columns {', '.join(table.column_names)}; pairs need two, such as source and target.")
    own = pa.chunked_array([pa.array(np.arange(dataset.num_nodes))]) if dataset.tables is None else dataset.tables.ids
    known = ids.canonical(own if isinstance(own, pa.ChunkedArray) else pa.chunked_array([own]))
    ends = []
    for name in names:
        column = table.column(name)
        found = ids.positions(ids.canonical(column), known)
        if (found < 0).any():
            row = int((found < 0).argmax())
            raise ValueError(f"{path}, row {row + 1}: {name} is {shown(column[row])}, which is no node of {dataset.name}.")
        ends.append(found)
    none = torch.zeros(0, dtype=torch.int64)
    pairs = Pairs(torch.from_numpy(np.stack(ends)), directed=dataset.pairs.directed)
    y = dataset.objective.no_labels(len(pairs))
    return replace(dataset, pairs=pairs, y=y, splits=(Split(none, none, none),), split_index=0, trainable=False)


def end_columns(dataset: NodeDataset) -> tuple[str, str]:
    """Return the names of the columns of the two nodes of a pair."""
    if dataset.tables is None:
        return "source", "target"
    spec = dataset.tables.stored.spec
    return spec.edge_column("source"), spec.edge_column("target")
