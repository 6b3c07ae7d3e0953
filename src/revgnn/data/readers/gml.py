"""GML, read by networkx: nodes and edges with attributes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from revgnn.data.readers.format import Format
from revgnn.data.readers.networkx_graph import read_with_networkx

if TYPE_CHECKING:
    from revgnn.data.tables.contents import GraphTables


def read_gml(path: Path) -> GraphTables:
    """Return the tables of a GML file.

    As in networkx, `label` is the id of a node where all nodes have one and no two are the same. Elsewhere it is `id`, and `label`
    is an attribute.

    Raises:
        ValueError: in one line, if it cannot be read.
    """
    return read_with_networkx(path, FORMAT.name, _read)


def _read(path: str) -> Any:
    import networkx as nx

    try:
        return nx.read_gml(path)
    except nx.NetworkXError as error:
        # "node #0 has no 'label' attribute", "node label 'a' is duplicated"
        if "label" not in str(error):
            raise
        return nx.read_gml(path, label="id")


FORMAT = Format(
    name="GML",
    endings=(".gml", ".gml.gz"),
    holds="nodes and edges with attributes",
    gives="graph",
    read=read_gml,
)
