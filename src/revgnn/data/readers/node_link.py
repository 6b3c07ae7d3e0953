"""Node-link JSON, as networkx and D3 write it: lists of nodes and of links with attributes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revgnn.data.readers.format import Format
from revgnn.data.readers.networkx_graph import read_with_networkx
from revgnn.data.readers.text_file import open_text

if TYPE_CHECKING:
    from revgnn.data.tables.contents import GraphTables


def read_node_link(path: Path) -> GraphTables:
    """Return the tables of a file with `nodes` and with `links` or `edges`.

    Raises:
        ValueError: in one line, if it cannot be read, or a link names a node that is not listed.
    """
    return read_with_networkx(path, FORMAT.name, _read)


def _read(path: str) -> Any:
    import networkx as nx

    with open_text(path) as file:
        stored = json.load(file)
    if not isinstance(stored, dict) or not isinstance(stored.get("nodes"), list):
        raise ValueError('an object with the lists "nodes" and "links" is needed')
    key = "links" if "links" in stored else "edges"
    if not isinstance(stored.get(key), list):
        raise ValueError('it has no list "links" or "edges"')
    graph: Any = nx.node_link_graph(stored, edges=key)
    if graph.number_of_nodes() != len(stored["nodes"]):
        raise ValueError(
            f"it lists {len(stored['nodes']):,} nodes, but with the ends of links there are {graph.number_of_nodes():,}: ids must "
            "differ, and links may only name listed nodes"
        )
    return graph


FORMAT = Format(
    name="node-link JSON",
    endings=(".json", ".json.gz"),
    holds="nodes and edges with attributes",
    gives="graph",
    read=read_node_link,
)
