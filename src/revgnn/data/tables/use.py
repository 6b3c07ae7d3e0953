"""The use of each column: found out, or as `graph.yaml` and the user say."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from revgnn.data.tables.contents import GraphTables
from revgnn.data.tables.files import TableFiles
from revgnn.data.tables.graphs import find_owner, guess_graphs
from revgnn.data.tables.kinds import find_labels, guess, guess_edges, guess_nodes
from revgnn.data.tables.labels import LabelEncoding, LabelError, could_be_labels, find_separator, fit_labels
from revgnn.data.tables.options import TableOptions
from revgnn.data.tables.spec import (
    EDGE_KINDS,
    GRAPH_KINDS,
    NODE_KINDS,
    GraphSpec,
    Kind,
    SplitRule,
    check_ratios,
    parse_kind,
    read_spec,
)

OF_PAIRS = ("links", "edges")
"""Tasks whose rows are pairs of nodes."""


def found_spec(files: TableFiles, contents: GraphTables, graphs: pa.Table | None, options: TableOptions) -> GraphSpec:
    """Return the use of columns that names, values and the user's options suggest; `graphs` is a third table, if there is one."""
    nodes, edges = contents.nodes, contents.edges
    given = _given_kinds(options)
    for table, roles in (("nodes", contents.node_roles), ("edges", contents.edge_roles)):
        chosen = {kind.name for kind in given[table].values()}
        given[table] = {name: kind for name, kind in roles.items() if kind.name not in chosen} | given[table]
    if options.labels:
        given["nodes"] = {name: kind for name, kind in given["nodes"].items() if kind.name != "label"}
    named = [name for name, kind in given["nodes"].items() if kind.name == "graph"]
    may_own = graphs is not None and options.task not in OF_PAIRS
    owner = (next(iter(named), None) or find_owner(nodes.column_names)) if may_own else None
    of_labels = dict.fromkeys(options.labels, Kind("label"))
    if options.task == "edges":
        given["edges"] |= of_labels or dict.fromkeys(find_labels(edges.column_names), Kind("label"))
    if owner is not None:
        given["nodes"] |= {owner: Kind("graph")}
    graph_kinds: dict[str, Kind] = {}
    try:
        if options.task in OF_PAIRS:
            node_kinds = guess_nodes(nodes, edges, given["nodes"])
        elif owner is None:
            node_kinds = guess_nodes(nodes, edges, given["nodes"] | of_labels)
        else:
            assert graphs is not None
            graph_kinds = guess_graphs(graphs, nodes.column(owner), given["graphs"] | of_labels)
            node_kinds = guess_nodes(nodes, edges, given["nodes"])
        if owner is not None or options.task in OF_PAIRS:  # a label of a node is a feature here
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
        directed=bool(contents.directed),
        label_separator=separator,
        graphs_file="" if owner is None or files.graphs is None else _relative(files.graphs, base),
        graphs=graph_kinds,
    )


def known_spec(files: TableFiles, contents: GraphTables, graphs: pa.Table | None) -> GraphSpec:
    """Return the use of columns that the user's file describes; it must name the columns of these tables."""
    nodes, edges = contents.nodes, contents.edges
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
        check_columns(path, table, kinds, optional=(), advice=contents.advice)
        new = [name for name in table.column_names if name not in kinds]
        if new:
            raise ValueError(
                f"{files.spec} does not mention the column {new[0]!r} of {path.name}; add `{new[0]}: "
                f"{guess(table.column(new[0]))}` below columns of {name}, or delete {files.spec.name} to have it written again."
            )
    return spec


def check_columns(path: Path, table: pa.Table, kinds: Mapping[str, Kind], optional: tuple[str, ...], advice: str = "") -> None:
    """Raise `ValueError` if a column is missing whose kind is not `optional`; `advice` says how to give labels."""
    missing = [name for name, kind in kinds.items() if kind.name not in optional and name not in table.column_names]
    if missing:
        raise ValueError(
            f"{path} has no column {', '.join(map(repr, missing[:5]))}, which was {kinds[missing[0]].name}; its columns are "
            f"{', '.join(table.column_names[:20])}. {advice if kinds[missing[0]].name == 'label' else ''}".rstrip()
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


def changed_spec(spec: GraphSpec, options: TableOptions) -> GraphSpec:
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


def _relative(path: Path, base: Path) -> str:
    return os.path.relpath(path.resolve(), base.resolve())


def labels_of(spec: GraphSpec, table: pa.Table, path: Path, advice: str = "") -> LabelEncoding:
    """Return the encoding of the labels in a table. `links` have none. `advice` says how to give labels if there are none.

    Raises:
        ValueError: if no column is the label, or it holds none of the task; the message has columns that could be labels.
    """
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
        advice = advice if advice and not columns else "Name the label: --label COLUMN, or label in graph.yaml."
        raise ValueError(f"{path}: {str(error).rstrip('.')}; {hint}. {advice}") from None
