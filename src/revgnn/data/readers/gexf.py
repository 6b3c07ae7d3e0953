"""GEXF, the format of Gephi, read by networkx: nodes and edges with typed attributes."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from revgnn.data.readers.format import Format
from revgnn.data.readers.networkx_graph import read_with_networkx
from revgnn.data.readers.xml_guard import check_xml

if TYPE_CHECKING:
    from revgnn.data.tables.contents import GraphTables


def read_gexf(path: Path) -> GraphTables:
    """Return the tables of a GEXF file. Ids are text; values that change with time, colours and positions are left out.

    Raises:
        ValueError: in one line, if it cannot be read, has a document type or holds several graphs.
    """
    import networkx as nx

    check_xml(path, FORMAT.name)
    return read_with_networkx(path, FORMAT.name, functools.partial(nx.read_gexf, node_type=str), without=("id",))


FORMAT = Format(
    name="GEXF",
    endings=(".gexf", ".gexf.gz"),
    holds="nodes and edges with attributes",
    gives="graph",
    read=read_gexf,
)
