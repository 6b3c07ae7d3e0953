"""Read two tables as a `NodeDataset`: for training, or for a trained network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from revgnn.data.build_graph import build_graph
from revgnn.data.dataset import DEFAULT_METRIC, NodeDataset, Split
from revgnn.data.many_graphs import ManyGraphs
from revgnn.data.node_features import default_node_features
from revgnn.data.pairs import Pairs
from revgnn.data.tables import ids, splits
from revgnn.data.tables.arrow import Column, is_text, pc, shown, to_bool
from revgnn.data.tables.columns import ISO, dates_of, numbers_of
from revgnn.data.tables.encoding import Categories, ColumnEncoding, Parsed, encode_all, fit, parse, take
from revgnn.data.tables.files import TableFiles
from revgnn.data.tables.graphs import Graphs, find_owner, graphs_of_nodes, guess_graphs, read_graphs
from revgnn.data.tables.kinds import MAX_CATEGORIES, find_labels, guess, guess_edges, guess_nodes
from revgnn.data.tables.labels import LabelEncoding, LabelError, could_be_labels, find_separator, fit_labels, listed
from revgnn.data.tables.options import TableOptions
from revgnn.data.tables.problems import Problems
from revgnn.data.tables.reading import read_table
from revgnn.data.tables.report import ColumnUse, ReadReport
from revgnn.data.tables.spec import (
    EDGE_KINDS,
    FEATURE_KINDS,
    GRAPH_KINDS,
    NODE_KINDS,
    GraphSpec,
    Kind,
    SplitRule,
    check_ratios,
    parse_kind,
    read_spec,
)
from revgnn.data.tables.stored import StoredTables, TableSource
from revgnn.data.tasks import TASKS

MAX_EDGE_CATEGORIES = 16
"""As `MAX_CATEGORIES`, for edges, of which there are many more."""

_OF_PAIRS = ("links", "edges")
"""Tasks whose rows are pairs of nodes."""


def read_tables(
    files: TableFiles,
    options: TableOptions,
    *,
    split: int = 0,
    undirected: bool | None = None,
    self_loops: bool | None = None,
) -> NodeDataset:
    """Read two tables to train on.

    Columns are used as `files.spec` says, or as their names and values suggest if there is no such file. Encodings are fitted on
    the training nodes of the split in use, and on the edges that touch them.

    Args:
        files: the tables.
        options: what the user says.
        split: number of the split in use.
        undirected: see `build_graph`; default: as `files.spec` says, where true is the default.
        self_loops: see `build_graph`.

    Raises:
        ValueError: if a table or `files.spec` cannot be read, a row cannot be used (unless such rows are dropped), or the labels
            are not classes; one line.
    """
    drop = options.on_bad_rows == "drop"
    node_table, bad_nodes = read_table(files.nodes, drop_bad_rows=drop)
    if node_table.num_rows == 0:
        raise ValueError(f"{files.nodes} has no rows, so there is no node to train on.")
    edge_table, bad_edges = read_table(files.edges, drop_bad_rows=drop)
    graph_table, bad_graphs = (None, 0) if files.graphs is None else read_table(files.graphs, drop_bad_rows=drop)
    spec_is_new = not files.spec.is_file()
    tables = (node_table, edge_table, graph_table)
    found = _found_spec(files, tables, options) if spec_is_new else _known_spec(files, tables)
    spec = _changed(found, options)
    of_graphs, of_pairs = bool(spec.graphs), spec.task in _OF_PAIRS
    label_table, label_file = (graph_table, files.graphs) if of_graphs else (node_table, files.nodes)
    if spec.task == "edges":
        label_table, label_file = edge_table, files.edges
    assert label_table is not None
    assert label_file is not None
    labels = _fit_labels(spec, label_table, label_file)
    if labels.task == "regression" and not of_pairs:
        spec = replace(spec, task="regression")  # written to graph.yaml, since numbers could be classes too
    graphs = read_graphs(label_table, spec, label_file, labels, drop=drop) if of_graphs else None
    nodes = _read_nodes(node_table, spec, files.nodes, labels, drop=drop, needs_labels=not (of_graphs or of_pairs), graphs=graphs)
    if graphs is not None:
        nodes, graphs = _in_order(nodes, graphs, label_file)
        graphs.problems.count("cells do not fit the columns", bad_graphs)
    edges = _read_edges(edge_table, spec, files.edges, nodes, labels, drop=drop)
    rows = edges if spec.task == "edges" else nodes if graphs is None else graphs
    all_splits = _splits(spec, rows, max(10, split + 1))
    if not 0 <= split < len(all_splits):
        raise ValueError(f"{label_file} has {len(all_splits)} split(s), 0 to {len(all_splits) - 1}; got split {split}.")
    training = np.zeros(len(rows.labelled), bool)
    training[all_splits[split].train.numpy()] = True
    if spec.task == "edges":
        ends = edges.ends[:, training]
        training = np.zeros(len(nodes.ids), bool)
        training[ends.reshape(-1)] = True
    elif nodes.owner is not None:
        training = training[nodes.owner]
    touching = training[edges.ends[0]] | training[edges.ends[1]]
    stored = StoredTables(
        spec,
        _fit_all(spec.nodes, nodes.features, training, MAX_CATEGORIES),
        _fit_all(spec.edges, edges.features, touching, MAX_EDGE_CATEGORIES),
        labels,
    )
    nodes.problems.count("cells do not fit the columns", bad_nodes)
    edges.problems.count("cells do not fit the columns", bad_edges)
    return _assemble(
        files,
        stored,
        nodes,
        edges,
        graphs,
        all_splits,
        split,
        undirected=undirected,
        self_loops=self_loops,
        spec_is_new=spec_is_new,
        trainable=spec.task != "links",
    )


def read_like(
    files: TableFiles,
    stored: StoredTables,
    *,
    drop_bad_rows: bool = False,
    undirected: bool | None = None,
    self_loops: bool | None = None,
) -> NodeDataset:
    """Read tables as those of a trained run: with its use of columns and its encodings.

    Labels and a column of splits may be missing. Without a column of splits, all nodes with a label are test nodes.

    Raises:
        ValueError: if a column of features is missing, a cell is not of the kind it was in training, or a label is not one of the
            run's classes.
    """
    node_table, bad_nodes = read_table(files.nodes, drop_bad_rows=drop_bad_rows)
    edge_table, bad_edges = read_table(files.edges, drop_bad_rows=drop_bad_rows)
    spec, labels = stored.spec, stored.labels
    graphs = None
    if spec.graphs:
        owner = spec.columns("graph")[0]
        _check_columns(files.nodes, node_table, {owner: Kind("graph")}, optional=())
        if files.graphs is None:
            graph_table, path = graphs_of_nodes(node_table.column(owner)), files.nodes
        else:
            (graph_table, _), path = read_table(files.graphs, drop_bad_rows=drop_bad_rows), files.graphs
            _check_columns(path, graph_table, spec.graphs, optional=("label", "split", "ignored"))
        graphs = read_graphs(graph_table, spec, path, labels, drop=drop_bad_rows)
    _check_columns(files.nodes, node_table, spec.nodes, optional=("label", "split", "ignored"))
    _check_columns(files.edges, edge_table, spec.edges, optional=("label", "ignored"))
    of_nodes = graphs is None and spec.task not in _OF_PAIRS
    has_labels = of_nodes and all(name in node_table.column_names for name in labels.columns)
    nodes = _read_nodes(node_table, spec, files.nodes, labels, drop=drop_bad_rows, needs_labels=has_labels, graphs=graphs)
    if graphs is not None:
        nodes, graphs = _in_order(nodes, graphs, files.graphs or files.nodes)
    edges = _read_edges(edge_table, spec, files.edges, nodes, labels, drop=drop_bad_rows)
    rows = edges if spec.task == "edges" else nodes if graphs is None else graphs
    if rows.parts is not None:
        chosen = splits.split_by_column(rows.parts, rows.labelled)
    else:
        none = torch.zeros(0, dtype=torch.int64)
        chosen = (Split(none, none, torch.from_numpy(np.flatnonzero(rows.labelled))),)
    nodes.problems.count("cells do not fit the columns", bad_nodes)
    edges.problems.count("cells do not fit the columns", bad_edges)
    return _assemble(
        files,
        stored,
        nodes,
        edges,
        graphs,
        chosen,
        0,
        undirected=undirected,
        self_loops=self_loops,
        spec_is_new=False,
        trainable=False,
    )


# --- the use of columns -------------------------------------------------------------------------------------------------


_Tables = tuple[pa.Table, pa.Table, pa.Table | None]
"""The tables of nodes, edges and perhaps graphs."""


def _found_spec(files: TableFiles, tables: _Tables, options: TableOptions) -> GraphSpec:
    """Return the use of columns that names, values and the user's options suggest."""
    nodes, edges, graphs = tables
    given = _given_kinds(options)
    named = [name for name, kind in given["nodes"].items() if kind.name == "graph"]
    may_own = graphs is not None and options.task not in _OF_PAIRS
    owner = (next(iter(named), None) or find_owner(nodes.column_names)) if may_own else None
    of_labels = dict.fromkeys(options.labels, Kind("label"))
    if options.task == "edges":
        given["edges"] |= of_labels or dict.fromkeys(find_labels(edges.column_names), Kind("label"))
    if owner is not None:
        given["nodes"] |= {owner: Kind("graph")}
    graph_kinds: dict[str, Kind] = {}
    try:
        if options.task in _OF_PAIRS:
            node_kinds = guess_nodes(nodes, edges, given["nodes"])
        elif owner is None:
            node_kinds = guess_nodes(nodes, edges, given["nodes"] | of_labels)
        else:
            assert graphs is not None
            graph_kinds = guess_graphs(graphs, nodes.column(owner), given["graphs"] | of_labels)
            node_kinds = guess_nodes(nodes, edges, given["nodes"])
        if owner is not None or options.task in _OF_PAIRS:  # a label of a node is a feature here
            node_kinds |= {name: guess(nodes.column(name)) for name, k in node_kinds.items() if k.name in ("label", "split")}
        id_column = next(name for name, kind in node_kinds.items() if kind.name == "id")
        edge_kinds = guess_edges(edges, nodes.column(id_column), given["edges"])
    except ValueError as error:
        raise ValueError(f"{files.nodes} and {files.edges.name}: {error}") from None
    table, kinds = (nodes, node_kinds) if graphs is None or owner is None else (graphs, graph_kinds)
    labels = [name for name, kind in kinds.items() if kind.name == "label" and name in table.column_names]
    separator = find_separator(table.column(labels[0])) if len(labels) == 1 else ""
    base = files.spec.parent
    return GraphSpec(
        _relative(files.nodes, base),
        _relative(files.edges, base),
        node_kinds,
        edge_kinds,
        label_separator=separator,
        graphs_file="" if owner is None or files.graphs is None else _relative(files.graphs, base),
        graphs=graph_kinds,
    )


def _known_spec(files: TableFiles, tables: _Tables) -> GraphSpec:
    """Return the use of columns that the user's file describes; it must name the columns of these tables."""
    nodes, edges, graphs = tables
    spec = read_spec(files.spec)
    base = files.spec.parent
    known = [("nodes", spec.nodes_file, files.nodes, nodes, spec.nodes), ("edges", spec.edges_file, files.edges, edges, spec.edges)]
    if spec.graphs:
        if files.graphs is None or graphs is None:
            raise ValueError(f"{files.spec} describes {spec.graphs_file} as the table of graphs, which is not there.")
        known.append(("graphs", spec.graphs_file, files.graphs, graphs, spec.graphs))
    for table, named, given, *_ in known:
        if (base / named).resolve() != given.resolve():
            raise ValueError(
                f"{files.spec} describes {named} as the table of {table}, not {given}; correct it, delete it, or name another "
                "file: --graph-file F."
            )
    for name, _, path, table, kinds in known:
        _check_columns(path, table, kinds, optional=())
        new = [name for name in table.column_names if name not in kinds]
        if new:
            raise ValueError(
                f"{files.spec} does not mention the column {new[0]!r} of {path.name}; add `{new[0]}: "
                f"{guess(table.column(new[0]))}` below columns of {name}, or delete {files.spec.name} to have it written again."
            )
    return spec


def _check_columns(path: Path, table: pa.Table, kinds: Mapping[str, Kind], optional: tuple[str, ...]) -> None:
    missing = [name for name, kind in kinds.items() if kind.name not in optional and name not in table.column_names]
    if missing:
        raise ValueError(
            f"{path} has no column {', '.join(map(repr, missing[:5]))}, which was {kinds[missing[0]].name}; its columns are "
            f"{', '.join(table.column_names[:20])}."
        )


def _given_kinds(options: TableOptions) -> dict[str, dict[str, Kind]]:
    given: dict[str, dict[str, Kind]] = {"nodes": {}, "edges": {}, "graphs": {}}
    for column, kind in options.kinds.items():
        if column.startswith("edges."):
            given["edges"][column.removeprefix("edges.")] = parse_kind(kind, EDGE_KINDS, column)
        elif column.startswith("graphs."):
            given["graphs"][column.removeprefix("graphs.")] = parse_kind(kind, GRAPH_KINDS, column)
        else:
            given["nodes"][column.removeprefix("nodes.")] = parse_kind(kind, NODE_KINDS, column)
    return given


def _changed(spec: GraphSpec, options: TableOptions) -> GraphSpec:
    """Return the use of columns with the changes that the user's options make."""
    given = _given_kinds(options)
    nodes, edges, graphs = dict(spec.nodes), dict(spec.edges), dict(spec.graphs)
    for table, kinds, changes in (
        ("nodes", nodes, given["nodes"]),
        ("edges", edges, given["edges"]),
        ("graphs", graphs, given["graphs"]),
    ):
        for name, kind in changes.items():
            if name not in kinds:
                raise ValueError(
                    f"--kind names {name!r}, which is no column of the {table}; these are {', '.join(list(kinds)[:20])}."
                )
            kinds[name] = kind
    task = options.task or spec.task
    labelled, what = (edges, "edges") if task == "edges" else (graphs, "graphs") if graphs else (nodes, "nodes")
    if options.labels:
        unknown = [name for name in options.labels if name not in labelled]
        if unknown:
            raise ValueError(
                f"--label names {unknown[0]!r}, which is no column of the {what}; these are {', '.join(list(labelled)[:20])}."
            )
        former = [name for name, kind in labelled.items() if kind.name == "label"]
        labelled |= dict.fromkeys(former, Kind("ignored", note="a label that was replaced")) | dict.fromkeys(
            options.labels, Kind("label")
        )
    rule = spec.split
    if options.split_ratios is not None or options.split_time is not None or options.stratify is not None:
        rule = SplitRule(
            rule.ratios if options.split_ratios is None else check_ratios(options.split_ratios, "--split-ratios"),
            rule.stratify if options.stratify is None else options.stratify,
            rule.time if options.split_time is None else options.split_time,
        )
        # A column of splits would win over the ratios.
        labelled |= {
            name: Kind("ignored", note="replaced by the ratios") for name, kind in labelled.items() if kind.name == "split"
        }
        if rule.time and graphs:
            raise ValueError("--split-time orders nodes, and these tables have labels of graphs; name a column of splits instead.")
    return replace(spec, nodes=nodes, edges=edges, graphs=graphs, split=rule, task=task)


def _no_column(option: str, name: str, table: str, kinds: Mapping[str, Kind]) -> ValueError:
    return ValueError(f"{option} names {name!r}, which is no column of the {table}; these are {', '.join(list(kinds)[:20])}.")


def _relative(path: Path, base: Path) -> str:
    return os.path.relpath(path.resolve(), base.resolve())


def _fit_labels(spec: GraphSpec, table: pa.Table, path: Path) -> LabelEncoding:
    if spec.task == "links":
        return LabelEncoding((), "binary", ("no", "yes"))
    columns = spec.columns("label")
    kinds = spec.edges if spec.task == "edges" else spec.graphs or spec.nodes
    no_labels = ("id", "split", "label", "date", "graph", "source", "target")
    others = [name for name, kind in kinds.items() if kind.name not in no_labels]
    try:
        if not columns:
            raise LabelError("no column is the label")
        return fit_labels(table, columns, spec.label_separator, "" if spec.task == "edges" else spec.task)
    except LabelError as error:
        could = could_be_labels(table, others)
        hint = f"these could be labels: {', '.join(could[:8])}" if could else "no column holds classes"
        raise ValueError(
            f"{path}: {str(error).rstrip('.')}; {hint}. Name the label: --label COLUMN, or label in graph.yaml."
        ) from None


# --- rows ---------------------------------------------------------------------------------------------------------------


@dataclass
class _Nodes:
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
class _Edges:
    """The rows of the edges in use; `ends` is int64 (2, E)."""

    ends: np.ndarray
    features: dict[str, Parsed]
    problems: Problems
    y: Tensor
    labelled: np.ndarray
    parts: Column | None = None
    times: np.ndarray | None = None


def _read_nodes(
    table: pa.Table,
    spec: GraphSpec,
    path: Path,
    labels: LabelEncoding,
    *,
    drop: bool,
    needs_labels: bool,
    graphs: Graphs | None,
) -> _Nodes:
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
    return _Nodes(
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


def _in_order(nodes: _Nodes, graphs: Graphs, path: Path) -> tuple[_Nodes, Graphs]:
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


def _read_edges(table: pa.Table, spec: GraphSpec, path: Path, nodes: _Nodes, labels: LabelEncoding, *, drop: bool) -> _Edges:
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
    return _Edges(ends[:, keep], {name: take(parsed, keep) for name, parsed in features.items()}, problems, y, labelled)


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


def _splits(spec: GraphSpec, nodes: _Nodes | _Edges | Graphs, count: int) -> tuple[Split, ...]:
    if spec.task == "links":  # features are fitted on all nodes; links are split later
        none = torch.zeros(0, dtype=torch.int64)
        return (Split(torch.arange(len(nodes.labelled)), none, none),) * count
    if nodes.parts is not None:
        return splits.split_by_column(nodes.parts, nodes.labelled)
    if nodes.times is not None:
        return splits.split_by_time(nodes.times, nodes.labelled, spec.split.ratios)
    return splits.split_at_random(nodes.y, nodes.labelled, spec.split.ratios, count, stratify=spec.split.stratify)


# --- the data set -------------------------------------------------------------------------------------------------------


def _fit_all(
    kinds: Mapping[str, Kind], features: Mapping[str, Parsed], training: np.ndarray, max_categories: int
) -> tuple[ColumnEncoding, ...]:
    return tuple(fit(name, kinds[name], parsed, training, max_categories) for name, parsed in features.items())


def _assemble(
    files: TableFiles,
    stored: StoredTables,
    nodes: _Nodes,
    edges: _Edges,
    graphs: Graphs | None,
    all_splits: tuple[Split, ...],
    split: int,
    *,
    undirected: bool | None,
    self_loops: bool | None,
    spec_is_new: bool,
    trainable: bool,
) -> NodeDataset:
    x, unknown_nodes = encode_all(stored.nodes, nodes.features, len(nodes.ids))
    edge_attr, unknown_edges = encode_all(stored.edges, edges.features, edges.ends.shape[1])
    undirected = not stored.spec.directed if undirected is None else undirected
    graph = build_graph(
        edges.ends,
        len(nodes.ids),
        edge_attr if edge_attr.shape[1] else None,
        undirected=undirected,
        self_loops=self_loops,
    )
    unknown = {f"nodes: {name}": count for name, count in unknown_nodes.items()}
    unknown |= {f"edges: {name}": count for name, count in unknown_edges.items()}
    of_edges = stored.spec.task == "edges"
    rows = edges if of_edges else nodes if graphs is None else graphs
    report = _report(files, stored, nodes, edges, rows, undirected=undirected, unknown=unknown, spec_is_new=spec_is_new)
    labels = stored.labels
    ids_as_they_came = (nodes if graphs is None else graphs).ids.combine_chunks()
    kinds = stored.spec.graphs or stored.spec.nodes
    return NodeDataset(
        name=files.nodes.resolve().parent.name,
        graph=graph,
        x=torch.from_numpy(x) if x.shape[1] else default_node_features(graph),
        y=rows.y,
        pairs=Pairs(torch.from_numpy(edges.ends)) if of_edges else None,
        graphs=None if nodes.owner is None else ManyGraphs(torch.from_numpy(nodes.owner)),
        task=labels.task,
        num_outputs=labels.num_outputs,
        metric=DEFAULT_METRIC[labels.task],
        splits=all_splits,
        split_index=split,
        task_names=tuple(map(str, labels.classes)) if labels.task in ("multilabel", "regression") else None,
        source=str(files.nodes.parent),
        trainable=trainable,
        tables=TableSource(
            ids_as_they_came,
            next(name for name, kind in kinds.items() if kind.name == "id"),
            stored,
            report,
            unknown,
            has_split=trainable or rows.parts is not None,
        ),
    )


def _report(
    files: TableFiles,
    stored: StoredTables,
    nodes: _Nodes,
    edges: _Edges,
    rows: _Nodes | _Edges | Graphs,
    *,
    undirected: bool,
    unknown: Mapping[str, int],
    spec_is_new: bool,
) -> ReadReport:
    uses = []
    for table, kinds, encodings, features in (
        ("nodes", stored.spec.nodes, stored.nodes, nodes.features),
        ("edges", stored.spec.edges, stored.edges, edges.features),
        ("graphs", stored.spec.graphs, (), {}),
    ):
        widths = {encoding.name: encoding.width for encoding in encodings}
        for name, kind in kinds.items():
            missing = _missing(features[name]) if name in features else 0
            uses.append(ColumnUse(table, name, str(kind), widths.get(name, 0), missing, kind.note))
    notes = [f"edges are used {'in both directions' if undirected else 'from source to target'}"]
    what = "nodes" if isinstance(rows, _Nodes) else "edges" if isinstance(rows, _Edges) else "graphs"
    if isinstance(rows, Graphs):
        notes.insert(0, f"{len(rows.ids):,} graphs of {files.graphs or files.nodes}")
    without_label = int((~rows.labelled).sum())
    if without_label and stored.spec.task != "links":
        notes.append(f"{without_label:,} {what} have no label and are in no part of the split")
    if stored.labels.task == "regression":
        notes.append(
            f"{listed(stored.labels.classes)}: predicted as {'numbers' if len(stored.labels.classes) > 1 else 'a number'} "
            "(regression); for classes: --task multiclass, or task in graph.yaml"
        )
    if not stored.nodes:
        notes.append(
            "no column of the nodes is a feature: the network sees " + ("their edges' features" if stored.edges else "their degree")
        )
    notes += [f"{count:,} {place}: a category that was not told apart in training" for place, count in unknown.items()]
    dropped = {
        f"{table}: {reason}": n
        for table, read in (("nodes", nodes), ("edges", edges), *([("graphs", rows)] if isinstance(rows, Graphs) else []))
        for reason, n in read.problems.dropped.items()
    }
    return ReadReport(
        nodes=str(files.nodes),
        edges=str(files.edges),
        num_nodes=len(nodes.ids),
        num_edges=edges.ends.shape[1],
        columns=tuple(uses),
        dropped=dropped,
        notes=tuple(notes),
        spec=str(files.spec),
        spec_is_new=spec_is_new,
    )


def _missing(parsed: Parsed) -> int:
    return int((parsed.codes < 0).sum()) if isinstance(parsed, Categories) else int(parsed.missing.sum())
