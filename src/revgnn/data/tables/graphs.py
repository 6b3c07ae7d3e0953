"""The table of graphs: a row for each of many small graphs, with its label. Nodes name their graph in a column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from revgnn.data.tables import ids, splits
from revgnn.data.tables.arrow import Column, is_text, pc, shown, to_bool
from revgnn.data.tables.kinds import find_labels, is_split, overlap
from revgnn.data.tables.labels import LabelEncoding
from revgnn.data.tables.problems import Problems
from revgnn.data.tables.spec import GraphSpec, Kind
from revgnn.data.tasks import TASKS

_OWNER_NAMES = ("graph", "graph_id", "graphid", "graph_index", "graph_idx", "graph_indicator")
_SPLIT_NAMES = ("split", "set", "fold", "part", "subset")


@dataclass
class Graphs:
    """The rows of the graphs in use, in the order of their table; the same fields as those of nodes with labels."""

    ids: Column
    canonical: Column
    y: Tensor
    labelled: np.ndarray
    parts: Column | None
    problems: Problems
    times: np.ndarray | None = None

    def keep(self, rows: np.ndarray) -> Graphs:
        """Return the rows where `rows`, bool (G,), is True."""
        chosen, y = pa.array(rows), self.y[torch.from_numpy(rows)]
        parts = None if self.parts is None else self.parts.filter(chosen)
        return Graphs(self.ids.filter(chosen), self.canonical.filter(chosen), y, self.labelled[rows], parts, self.problems)


def find_owner(names: Iterable[str]) -> str | None:
    """Return the column of the nodes that is named like a graph, or None."""
    return next((name for name in names if name.casefold() in _OWNER_NAMES), None)


def guess_graphs(table: pa.Table, owner: Column, given: Mapping[str, Kind]) -> dict[str, Kind]:
    """Return the kind of each column of the table of graphs.

    Args:
        owner: the column of the nodes that names their graph.
        given: the kinds that the user named. If a label is among them, no other column becomes one.

    Raises:
        ValueError: if no column holds the ids that the nodes name.
    """
    kinds = {name: kind for name, kind in given.items() if name in table.column_names}
    roles = {kind.name for kind in kinds.values()}
    rest = [name for name in table.column_names if name not in kinds]
    if "id" not in roles:
        shares = {name: overlap(owner, table.column(name)) for name in rest if not pa.types.is_nested(table.column(name).type)}
        likely = [name for name, share in shares.items() if share > 0]
        named = [name for name in likely if name.casefold() in (*_OWNER_NAMES, "id")]
        if not likely:
            raise ValueError(
                f"no column of the graphs ({', '.join(table.column_names[:20])}) holds what the nodes name as their graph; name "
                "it: --kind graphs.COLUMN=id."
            )
        kinds[named[0] if named else max(likely, key=lambda name: shares[name])] = Kind("id")
    rest = [name for name in rest if name not in kinds]
    if "label" not in roles:
        kinds |= dict.fromkeys(find_labels(rest), Kind("label"))
    if "split" not in roles:
        split = [name for name in rest if name not in kinds and name.casefold() in _SPLIT_NAMES and is_split(table.column(name))]
        kinds |= dict.fromkeys(split[:1], Kind("split"))
    return {name: kinds.get(name, Kind("ignored", note="features of graphs are not used")) for name in table.column_names}


def graphs_of_nodes(owner: Column) -> pa.Table:
    """Return the table of graphs that the nodes name, in order of their first node, for tables without labels."""
    return pa.table({"graph": owner.drop_null().unique()})


def read_graphs(table: pa.Table, spec: GraphSpec, path: Path, labels: LabelEncoding, *, drop: bool) -> Graphs:
    """Return the graphs of a table. Columns of labels and of the split may be missing.

    Raises:
        ValueError: naming the first row that cannot be used, unless such rows are dropped.
    """
    id_column = next(name for name, kind in spec.graphs.items() if kind.name == "id")
    column = table.column(id_column if id_column in table.column_names else "graph")
    problems = Problems(path, table.num_rows, drop=drop)
    problems.add(ids.missing(column), "no id", lambda _: f"the id ({id_column}) is empty")
    canonical = ids.canonical(column)
    problems.add(ids.repeated(canonical) & problems.keep, "doubled id", lambda row: f"the id {shown(column[row])} occurs before")
    parts = None
    if spec.columns("split") and spec.columns("split")[0] in table.column_names:
        parts = table.column(spec.columns("split")[0])
        problems.add(
            splits.bad_parts(parts) if is_text(parts) else to_bool(pc.is_valid(parts)),
            "unknown part of the split",
            lambda row: f"the split is {shown(parts[row])}; it must be train, valid, test or empty",
        )
    task = TASKS[labels.task](labels.num_outputs)
    y = task.no_labels(table.num_rows)
    if all(name in table.column_names for name in labels.columns):
        y, bad = labels.encode(table)
        name = labels.columns[0]
        problems.add(bad, "unknown label", lambda row: f"the label is {shown(table.column(name)[row])}; {labels.wanted}")
    known = task.labelled(y)
    labelled = (known.any(dim=1) if known.dim() == 2 else known).numpy()
    return Graphs(column, canonical, y, labelled, parts, problems).keep(problems.keep)
