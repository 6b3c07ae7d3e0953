"""The files of one graph: two tables, one graph file, or a table of nodes beside a file of edges."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from revgnn.data.readers.format import Format
from revgnn.data.readers.label_file import read_labels
from revgnn.data.readers.registry import find_format
from revgnn.data.tables.files import SPEC_NAME, TableFiles, find_tables, table_format

if TYPE_CHECKING:
    import pyarrow as pa

    from revgnn.data.tables.contents import EdgeTable, GraphTables


def find_graph_files(
    path: Path,
    edges: Path | None = None,
    spec: Path | None = None,
    *,
    names: tuple[str, str] | None = None,
    label_file: Path | None = None,
) -> TableFiles:
    """Return the files of a graph that is read as tables.

    Args:
        path: a folder with tables or their table of nodes (`find_tables`), or a graph file of a format with attributes or edges.
        edges: the edges: a table, or a file of a format that holds edges only. Default: see `find_tables`.
        spec: the file that says how columns are understood. Default: beside tables `graph.yaml`, beside a graph file its name with
            .yaml added.
        names: names of the two files in another folder; files of these names are preferred to all others.
        label_file: labels, one a node, for a graph file; see `read_labels`.

    Raises:
        ValueError: if a file is missing, or two of them do not belong together.
    """
    if names is not None and path.is_dir() and (path / names[0]).is_file():
        edge_file = path / names[1]
        if names[0] == names[1] and find_format(edge_file) is not None:
            path = edge_file
        elif edges is None and edge_file.is_file() and table_format(edge_file) is None:
            path, edges = path / names[0], edge_file
    format = find_format(path) if path.is_file() and table_format(path) is None else None
    if format is not None and format.gives in ("graph", "edges"):
        if edges is not None:
            raise ValueError(
                f"{path} holds its own edges; give it without {edges}. A table of nodes goes with edges: --nodes TABLE."
            )
        read = functools.partial(_read_graph_file, path, format, label_file)
        return TableFiles(path, path, path.with_name(f"{path.name}.yaml") if spec is None else spec, read=read)
    if label_file is not None:
        raise ValueError(
            f"{path} is no graph file, so that {label_file} does not belong to it; name a column of labels: --label COLUMN."
        )
    edge_format = find_format(edges) if edges is not None and table_format(edges) is None else None
    if edges is None or edge_format is None:
        return find_tables(path, edges, spec, names=names)
    if edge_format.gives != "edges":
        raise ValueError(f"{edges} ({edge_format.name}) holds nodes too; give it alone: revgnn train {edges}.")
    if table_format(path) is None or not path.is_file():
        raise ValueError(f"{path} must be a table of nodes, to go with the edges of {edges}.")
    read = functools.partial(_read_nodes_and_edges, path, edges, edge_format)
    return TableFiles(path, edges, path.parent / SPEC_NAME if spec is None else spec, read=read)


def _read_nodes_and_edges(nodes: Path, edges: Path, format: Format, drop_bad_rows: bool) -> GraphTables:
    from revgnn.data.tables.contents import EDGE_ROLES, GraphTables
    from revgnn.data.tables.reading import read_table

    table, dropped = read_table(nodes, drop_bad_rows=drop_bad_rows)
    found = format.edges(edges)
    return GraphTables(
        table, found.edges, edge_roles=_roles(EDGE_ROLES, found.edges), directed=found.directed, dropped=(dropped, 0)
    )


def _read_graph_file(path: Path, format: Format, label_file: Path | None, _: bool) -> GraphTables:
    from revgnn.data.tables.contents import EDGE_ROLES, NODE_ROLES, GraphTables
    from revgnn.data.tables.spec import Kind

    labels = {} if label_file is None else read_labels(label_file)
    count = len(next(iter(labels.values()))) if labels else None
    if format.gives == "graph":
        tables, advice = format.graph(path), ""
    else:
        found = format.edges(path)
        nodes = _nodes_of(found, count, path, label_file)
        tables = GraphTables(nodes, found.edges, NODE_ROLES, _roles(EDGE_ROLES, found.edges), found.directed)
        beside = f"--nodes F.csv --edges {path.name}"
        advice = f"It holds edges only: give one label a node (--label-file F.npy), or a table of nodes: {beside}."
    table = tables.nodes
    if count is not None and count != table.num_rows:
        raise ValueError(f"{label_file} has {count:,} labels, but {path} has {table.num_rows:,} nodes.")
    for name, column in labels.items():
        if name in table.column_names:
            raise ValueError(f"{path} has an attribute {name!r} already; leave out {label_file}, or name the attribute: --label.")
        table = table.append_column(name, column)
    roles = {**tables.node_roles, **{name: Kind("label") for name in labels}}
    return GraphTables(table, tables.edges, roles, tables.edge_roles, tables.directed, advice=advice)


def _roles(roles: Mapping[str, Any], table: pa.Table) -> dict[str, Any]:
    return {name: kind for name, kind in roles.items() if name in table.column_names}


def _nodes_of(found: EdgeTable, num_labels: int | None, path: Path, label_file: Path | None) -> pa.Table:
    """Return a table of the nodes of which only edges are known."""
    import pyarrow as pa

    from revgnn.data.tables.arrow import pc

    if found.nodes is not None:
        return found.nodes
    if found.num_nodes is not None:
        return pa.table({"id": np.arange(found.num_nodes)})
    ends = [found.edges.column(name) for name in ("source", "target")]
    if ends[0].type != ends[1].type:
        ends = [pc.cast(end, pa.string()) for end in ends]
    ids = pa.chunked_array([chunk for end in ends for chunk in end.chunks], ends[0].type).unique()
    if not pa.types.is_integer(ids.type):
        if num_labels is not None:
            raise ValueError(
                f"{path} names nodes by text, so that the rows of {label_file} do not say whose they are; give ids and labels as a "
                f"table: --nodes F.csv --edges {path.name}."
            )
        return pa.table({"id": ids})
    ids = ids.take(pc.sort_indices(ids))
    if num_labels is None:
        return pa.table({"id": ids})
    low, high = (ids[0].as_py(), ids[-1].as_py()) if len(ids) else (0, -1)
    if low < 0 or high >= num_labels:
        raise ValueError(
            f"{path} names nodes {low} to {high}, but {label_file} has {num_labels:,} labels, for nodes 0 to {num_labels - 1}; "
            f"give ids and labels as a table: --nodes F.csv --edges {path.name}."
        )
    return pa.table({"id": np.arange(num_labels)})
