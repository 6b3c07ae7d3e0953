"""A graph as two Arrow tables, wherever they come from: two files, one file with both, or edges beside a table of nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from revgnn.data.tables.files import TableFiles
from revgnn.data.tables.reading import read_table
from revgnn.data.tables.spec import Kind

ID, SOURCE, TARGET = "id", "source", "target"
"""Names of the columns that tables made from a graph file have."""

NODE_ROLES = {ID: Kind("id")}
EDGE_ROLES = {SOURCE: Kind("source"), TARGET: Kind("target")}


@dataclass(frozen=True, eq=False)
class GraphTables:
    """The tables of one graph.

    Attributes:
        nodes, edges: a row a node, and a row an edge.
        node_roles, edge_roles: kinds of columns that are known and need not be guessed.
        directed: whether the file says that edges have a direction; None: it says nothing.
        dropped: rows of nodes and of edges that could not be read and were dropped.
        advice: how to name the labels of such a graph; "" for what is usual for tables.
    """

    nodes: pa.Table
    edges: pa.Table
    node_roles: Mapping[str, Kind] = field(default_factory=dict)
    edge_roles: Mapping[str, Kind] = field(default_factory=dict)
    directed: bool | None = None
    dropped: tuple[int, int] = (0, 0)
    advice: str = ""


@dataclass(frozen=True, eq=False)
class EdgeTable:
    """Edges, without anything about nodes.

    Attributes:
        edges: columns `source`, `target` and features.
        directed: whether edges have a direction; None: the file does not say.
        num_nodes: N, if nodes are the numbers 0 to N - 1; None: nodes are those that edges name.
        nodes: a table with columns `id` (0 to N - 1) and features, if the file has features of nodes.
    """

    edges: pa.Table
    directed: bool | None = None
    num_nodes: int | None = None
    nodes: pa.Table | None = None


def read_contents(files: TableFiles, *, drop_bad_rows: bool = False) -> GraphTables:
    """Return the tables of a graph.

    Raises:
        ValueError: if a file cannot be read; one line.
    """
    if files.read is not None:
        return files.read(drop_bad_rows)
    nodes, bad_nodes = read_table(files.nodes, drop_bad_rows=drop_bad_rows)
    edges, bad_edges = read_table(files.edges, drop_bad_rows=drop_bad_rows)
    return GraphTables(nodes, edges, dropped=(bad_nodes, bad_edges))
