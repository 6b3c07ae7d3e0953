"""Pajek's .net, read by networkx: nodes by their names, edges with weights."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revgnn.data.readers.format import Format
from revgnn.data.readers.networkx_graph import read_with_networkx
from revgnn.data.readers.text_file import open_text

if TYPE_CHECKING:
    from revgnn.data.tables.contents import GraphTables


def read_pajek(path: Path) -> GraphTables:
    """Return the tables of a Pajek file. The id of a node is its name in the file.

    Raises:
        ValueError: in one line, if it cannot be read, or nodes share a name or are missing from the list of vertices.
    """
    return read_with_networkx(path, FORMAT.name, _read)


def _read(path: str) -> Any:
    import networkx as nx

    graph: Any = nx.read_pajek(path)
    promised = _number_of_vertices(path)
    if graph.number_of_nodes() != promised:
        raise ValueError(
            f"*Vertices promises {promised:,} nodes, but there are {graph.number_of_nodes():,}: names must differ, and edges may "
            "only name listed vertices"
        )
    for _, data in graph.nodes(data=True):
        data.pop("id", None)  # the number of the vertex
    return graph


def _number_of_vertices(path: str) -> int:
    with open_text(path) as file:
        found = (re.match(rb"\s*\*vertices\s+(\d{1,18})", line, re.IGNORECASE) for line in file)
        counts = [int(match[1]) for match in found if match]
    if len(counts) != 1:
        raise ValueError(f"one line `*Vertices N` is needed, got {len(counts)}")
    return counts[0]


FORMAT = Format(
    name="Pajek",
    endings=(".net", ".net.gz", ".pajek"),
    holds="nodes by name, edges with weights",
    gives="graph",
    read=read_pajek,
)
