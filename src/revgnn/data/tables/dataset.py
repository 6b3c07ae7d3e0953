"""Read two tables, or three, as a `NodeDataset`: for training, or for a trained network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from revgnn.data.build_graph import build_graph
from revgnn.data.dataset import DEFAULT_METRIC, NodeDataset, Split
from revgnn.data.many_graphs import ManyGraphs
from revgnn.data.node_features import default_node_features
from revgnn.data.pairs import Pairs
from revgnn.data.tables import splits
from revgnn.data.tables.contents import read_contents
from revgnn.data.tables.encoding import Categories, ColumnEncoding, Parsed, encode_all, fit
from revgnn.data.tables.files import TableFiles
from revgnn.data.tables.graphs import Graphs, graphs_of_nodes, read_graphs
from revgnn.data.tables.kinds import MAX_CATEGORIES
from revgnn.data.tables.labels import listed
from revgnn.data.tables.options import TableOptions
from revgnn.data.tables.reading import read_table
from revgnn.data.tables.report import ColumnUse, ReadReport
from revgnn.data.tables.rows import Edges, Nodes, in_order, read_edges, read_nodes, splits_of
from revgnn.data.tables.spec import (
    Kind,
)
from revgnn.data.tables.stored import StoredTables, TableSource
from revgnn.data.tables.use import OF_PAIRS, changed_spec, check_columns, found_spec, known_spec, labels_of

MAX_EDGE_CATEGORIES = 16
"""As `MAX_CATEGORIES`, for edges, of which there are many more."""


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
    contents = read_contents(files, drop_bad_rows=drop)
    node_table, edge_table, (bad_nodes, bad_edges) = contents.nodes, contents.edges, contents.dropped
    if node_table.num_rows == 0:
        raise ValueError(f"{files.nodes} has no rows, so there is no node to train on.")
    graph_table, bad_graphs = (None, 0) if files.graphs is None else read_table(files.graphs, drop_bad_rows=drop)
    spec_is_new = not files.spec.is_file()
    if options.task == "links":
        options = replace(options, split_ratios=None)  # of links, which are split later
    found = found_spec(files, contents, graph_table, options) if spec_is_new else known_spec(files, contents, graph_table)
    spec = changed_spec(found, options)
    of_graphs, of_pairs = bool(spec.graphs), spec.task in OF_PAIRS
    label_table, label_file = (graph_table, files.graphs) if of_graphs else (node_table, files.nodes)
    if spec.task == "edges":
        label_table, label_file = edge_table, files.edges
    assert label_table is not None
    assert label_file is not None
    labels = labels_of(spec, label_table, label_file, contents.advice)
    if labels.task == "regression" and not of_pairs:
        spec = replace(spec, task="regression")  # written to graph.yaml, since numbers could be classes too
    graphs = read_graphs(label_table, spec, label_file, labels, drop=drop) if of_graphs else None
    nodes = read_nodes(node_table, spec, files.nodes, labels, drop=drop, needs_labels=not (of_graphs or of_pairs), graphs=graphs)
    if graphs is not None:
        nodes, graphs = in_order(nodes, graphs, label_file)
        graphs.problems.count("cells do not fit the columns", bad_graphs)
    edges = read_edges(edge_table, spec, files.edges, nodes, labels, drop=drop)
    rows = edges if spec.task == "edges" else nodes if graphs is None else graphs
    all_splits = splits_of(spec, rows, max(10, split + 1))
    if not 0 <= split < len(all_splits):
        raise ValueError(f"{label_file} has {len(all_splits)} split(s), 0 to {len(all_splits) - 1}; got split {split}.")
    training = _training_nodes(all_splits[split].train.numpy(), len(rows.labelled), nodes, edges if spec.task == "edges" else None)
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
    contents = read_contents(files, drop_bad_rows=drop_bad_rows)
    node_table, edge_table, (bad_nodes, bad_edges) = contents.nodes, contents.edges, contents.dropped
    spec, labels = stored.spec, stored.labels
    graphs = None
    if spec.graphs:
        owner = spec.columns("graph")[0]
        check_columns(files.nodes, node_table, {owner: Kind("graph")}, optional=())
        if files.graphs is None:
            graph_table, path = graphs_of_nodes(node_table.column(owner)), files.nodes
        else:
            (graph_table, _), path = read_table(files.graphs, drop_bad_rows=drop_bad_rows), files.graphs
            check_columns(path, graph_table, spec.graphs, optional=("label", "split", "ignored"))
        graphs = read_graphs(graph_table, spec, path, labels, drop=drop_bad_rows)
    check_columns(files.nodes, node_table, spec.nodes, optional=("label", "split", "ignored"))
    check_columns(files.edges, edge_table, spec.edges, optional=("label", "ignored"))
    of_nodes = graphs is None and spec.task not in OF_PAIRS
    has_labels = of_nodes and all(name in node_table.column_names for name in labels.columns)
    nodes = read_nodes(node_table, spec, files.nodes, labels, drop=drop_bad_rows, needs_labels=has_labels, graphs=graphs)
    if graphs is not None:
        nodes, graphs = in_order(nodes, graphs, files.graphs or files.nodes)
    edges = read_edges(edge_table, spec, files.edges, nodes, labels, drop=drop_bad_rows)
    rows = edges if spec.task == "edges" else nodes if graphs is None else graphs
    if rows.parts is not None:
        chosen = splits.split_by_column(rows.parts, rows.labelled)
    else:
        none = torch.zeros(0, dtype=torch.int64)
        chosen = (Split(none, none, torch.from_numpy(np.flatnonzero(rows.labelled))),)
    nodes.problems.count("cells do not fit the columns", bad_nodes)
    edges.problems.count("cells do not fit the columns", bad_edges)
    if undirected is None and contents.directed is False:
        undirected = True  # such a file stores each edge once
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


def _training_nodes(train: np.ndarray, num_rows: int, nodes: Nodes, labelled_edges: Edges | None) -> np.ndarray:
    """Return which nodes encodings are fitted on, bool (N,): those with a training label, in such a graph, or at such an edge."""
    rows = np.zeros(num_rows, bool)
    rows[train] = True
    if labelled_edges is not None:
        training = np.zeros(len(nodes.ids), bool)
        training[labelled_edges.ends[:, rows].reshape(-1)] = True
        return training
    return rows if nodes.owner is None else rows[nodes.owner]


def _fit_all(
    kinds: Mapping[str, Kind], features: Mapping[str, Parsed], training: np.ndarray, max_categories: int
) -> tuple[ColumnEncoding, ...]:
    return tuple(fit(name, kinds[name], parsed, training, max_categories) for name, parsed in features.items())


def _assemble(
    files: TableFiles,
    stored: StoredTables,
    nodes: Nodes,
    edges: Edges,
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
        name=files.name,
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
        source=str(files.source),
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
    nodes: Nodes,
    edges: Edges,
    rows: Nodes | Edges | Graphs,
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
    what = "nodes" if isinstance(rows, Nodes) else "edges" if isinstance(rows, Edges) else "graphs"
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
