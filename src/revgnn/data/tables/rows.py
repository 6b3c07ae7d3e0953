"""The rows of tables that can be used: nodes and edges with features, labels and parts of the split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from revgnn.data.dataset import Split
from revgnn.data.tables import ids, splits
from revgnn.data.tables.arrow import Column, is_text, pc, shown, to_bool
from revgnn.data.tables.columns import ISO, dates_of, numbers_of
from revgnn.data.tables.encoding import Parsed, parse, take
from revgnn.data.tables.graphs import Graphs
from revgnn.data.tables.labels import LabelEncoding
from revgnn.data.tables.problems import Problems
from revgnn.data.tables.spec import (
    FEATURE_KINDS,
    GraphSpec,
    Kind,
)
from revgnn.data.tasks import TASKS


@dataclass
class Nodes:
    """The rows of the nodes in use."""

    ids: Column
    canonical: Column
    features: dict[str, Parsed]
    y: Tensor
    labelled: np.ndarray
    parts: Column | None
    times: np.ndarray | None
    problems: Problems
    owner: np.ndarray | None = None
    """Int64 (N,): the position of each node's graph, if labels are those of graphs."""


@dataclass
class Edges:
    """The rows of the edges in use; `ends` is int64 (2, E)."""

    ends: np.ndarray
    features: dict[str, Parsed]
    problems: Problems
    y: Tensor
    labelled: np.ndarray
    parts: Column | None = None
    times: np.ndarray | None = None


def read_nodes(
    table: pa.Table,
    spec: GraphSpec,
    path: Path,
    labels: LabelEncoding,
    *,
    drop: bool,
    needs_labels: bool,
    graphs: Graphs | None,
) -> Nodes:
    """Return the nodes of a table, with their graphs if labels are those of graphs.

    Raises:
        ValueError: naming the first row that cannot be used, unless such rows are dropped.
    """
    id_column = spec.columns("id")[0]
    column = table.column(id_column)
    problems = Problems(path, table.num_rows, drop=drop)
    problems.add(ids.missing(column), "no id", lambda _: f"the id ({id_column}) is empty")
    try:
        canonical = ids.canonical(column)
    except ValueError as error:
        raise ValueError(f"{path}: {id_column}: {error}") from None
    doubled = ids.repeated(canonical)
    problems.add(
        doubled & problems.keep, "doubled id", lambda row: f"the id {shown(column[row])} occurs before", "keep one row for each id"
    )
    features = _parse_features(table, spec.nodes, problems)
    parts = owner = None
    if graphs is not None:
        owner = _owners(table.column(spec.columns("graph")[0]), graphs, problems)
    elif spec.columns("split") and spec.columns("split")[0] in table.column_names:
        parts = table.column(spec.columns("split")[0])
        problems.add(
            splits.bad_parts(parts) if is_text(parts) else to_bool(pc.is_valid(parts)),
            "unknown part of the split",
            lambda row: f"the split is {shown(parts[row])}; it must be train, valid, test or empty",
        )
    times = _times(table, spec, problems)
    if needs_labels:
        y, bad = labels.encode(table)
        name = labels.columns[0]
        problems.add(
            bad,
            "unknown label",
            lambda row: f"the label is {shown(table.column(name)[row])}; {labels.wanted}",
        )
    else:
        y = TASKS[labels.task](labels.num_outputs).no_labels(table.num_rows)
    keep = problems.keep
    if not keep.any():
        raise ValueError(f"{path} has no rows that can be used.")
    kept = torch.from_numpy(keep)
    y = y[kept]
    labelled = (~y.isnan().all(1) if y.dim() == 2 else y >= 0).numpy()
    return Nodes(
        ids=column.filter(pa.array(keep)),
        canonical=canonical.filter(pa.array(keep)),
        features={name: take(parsed, keep) for name, parsed in features.items()},
        y=y,
        labelled=labelled,
        parts=None if parts is None else parts.filter(pa.array(keep)),
        times=None if times is None else times[keep],
        problems=problems,
        owner=None if owner is None else owner[keep],
    )


def _owners(column: Column, graphs: Graphs, problems: Problems) -> np.ndarray:
    """Return the position of each node's graph, int64 (N,)."""
    owner = ids.positions(ids.canonical(column), graphs.canonical)
    problems.add(
        owner < 0,
        "unknown graph",
        lambda row: f"the graph {shown(column[row])} is not among the {len(graphs.ids):,} graphs",
        "add the graph",
    )
    return owner


def in_order(nodes: Nodes, graphs: Graphs, path: Path) -> tuple[Nodes, Graphs]:
    """Return the nodes in the order of their graphs, and the graphs that have nodes."""
    assert nodes.owner is not None
    count = np.bincount(nodes.owner, minlength=len(graphs.ids))
    empty = count == 0
    problems = Problems(path, len(empty), drop=not graphs.problems.refuses)
    problems.add(empty, "no node", lambda row: f"the graph {shown(graphs.ids[row])} has no nodes")
    graphs.problems.count("no node", int(empty.sum()))
    owner = (np.cumsum(~empty) - 1)[nodes.owner]
    order = np.argsort(owner, kind="stable")
    chosen = pa.array(order)
    nodes = replace(
        nodes,
        ids=nodes.ids.take(chosen),
        canonical=nodes.canonical.take(chosen),
        features={name: take(parsed, order) for name, parsed in nodes.features.items()},
        y=nodes.y[torch.from_numpy(order)],
        labelled=nodes.labelled[order],
        owner=owner[order],
    )
    return nodes, graphs.keep(~empty)


def read_edges(table: pa.Table, spec: GraphSpec, path: Path, nodes: Nodes, labels: LabelEncoding, *, drop: bool) -> Edges:
    """Return the edges of a table between these nodes; errors as in `read_nodes`."""
    problems = Problems(path, table.num_rows, drop=drop)
    ends = np.empty((2, table.num_rows), np.int64)
    for i, role in enumerate(("source", "target")):
        name = spec.edge_column(role)
        column = table.column(name)
        problems.add(ids.missing(column), f"no {role}", lambda _, name=name, role=role: f"the {role} ({name}) is empty")
        try:
            ends[i] = ids.positions(ids.canonical(column), nodes.canonical)
        except ValueError as error:
            raise ValueError(f"{path}: {name}: {error}") from None
        problems.add(
            ends[i] < 0,
            "unknown node",
            lambda row, column=column, role=role: f"the {role} {shown(column[row])} is not among the {len(nodes.ids):,} nodes",
            "add the node",
        )
    if nodes.owner is not None:
        problems.add(
            nodes.owner[ends[0]] != nodes.owner[ends[1]],
            "ends in two graphs",
            lambda _: "it joins nodes of two graphs",
            "remove it",
        )
    features = _parse_features(table, spec.edges, problems)
    task = TASKS[labels.task](labels.num_outputs)
    y = task.no_labels(table.num_rows)
    if spec.task == "edges" and all(name in table.column_names for name in labels.columns):
        y, bad = labels.encode(table)
        label = labels.columns[0]
        problems.add(bad, "unknown label", lambda row: f"the label is {shown(table.column(label)[row])}; {labels.wanted}")
    keep = problems.keep
    y = y[torch.from_numpy(keep)]
    known = task.labelled(y)
    labelled = (known.any(dim=1) if known.dim() == 2 else known).numpy()
    return Edges(ends[:, keep], {name: take(parsed, keep) for name, parsed in features.items()}, problems, y, labelled)


def _parse_features(table: pa.Table, kinds: Mapping[str, Kind], problems: Problems) -> dict[str, Parsed]:
    features = {}
    for name, kind in kinds.items():
        if kind.name in FEATURE_KINDS:
            features[name], bad = parse(table.column(name), kind)
            problems.add(
                bad,
                f"{name} is not {_KIND_TEXT[kind.name]}",
                lambda row, name=name, kind=kind: (
                    f"{name} is {shown(table.column(name)[row])}, which is not {_KIND_TEXT[kind.name]}"
                ),
                f"mend it, or give the column another kind (--kind {name}=categorical or ignored, or in graph.yaml)",
            )
    return features


_KIND_TEXT = {"categorical": "text", "numeric": "a finite number", "boolean": "yes or no", "date": "a date of the column's format"}


def _times(table: pa.Table, spec: GraphSpec, problems: Problems) -> np.ndarray | None:
    """Return the values of the column that orders nodes in time, float64 (N,)."""
    name = spec.split.time
    if not name or spec.columns("split"):
        return None
    if name not in table.column_names:
        raise ValueError(f"{problems.path} has no column {name!r}, by which the split is to be cut; set --split-time.")
    column = table.column(name)
    values = dates_of(column, spec.nodes[name].form or ISO)
    if values.bad.any():
        values = numbers_of(column)
    problems.add(
        values.bad, f"{name} is no time", lambda row: f"{name} is {shown(column[row])}, neither a date nor a number like the others"
    )
    return values.numbers


def splits_of(spec: GraphSpec, nodes: Nodes | Edges | Graphs, count: int) -> tuple[Split, ...]:
    """Return the splits that a column names, or that time or chance make."""
    if spec.task == "links":  # features are fitted on all nodes; links are split later
        none = torch.zeros(0, dtype=torch.int64)
        return (Split(torch.arange(len(nodes.labelled)), none, none),) * count
    if nodes.parts is not None:
        return splits.split_by_column(nodes.parts, nodes.labelled)
    if nodes.times is not None:
        return splits.split_by_time(nodes.times, nodes.labelled, spec.split.ratios)
    return splits.split_at_random(nodes.y, nodes.labelled, spec.split.ratios, count, stratify=spec.split.stratify)
