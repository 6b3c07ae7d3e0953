"""GraphML, read by networkx: nodes and edges with typed attributes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from revgnn.data.readers.format import Format
from revgnn.data.readers.networkx_graph import read_with_networkx
from revgnn.data.readers.xml_guard import check_xml

if TYPE_CHECKING:
    from revgnn.data.tables.contents import GraphTables


def read_graphml(path: Path) -> GraphTables:
    """Return the tables of a GraphML file. Ids are text; numbers that only count edges are left out.

    Raises:
        ValueError: in one line, if it cannot be read, has a document type or holds several graphs.
    """
    import networkx as nx

    check_xml(path, FORMAT.name)
    return read_with_networkx(path, FORMAT.name, nx.read_graphml, without=("id",))


FORMAT = Format(
    name="GraphML",
    endings=(".graphml", ".graphml.gz"),
    holds="nodes and edges with attributes",
    gives="graph",
    read=read_graphml,
)
