"""All formats that `load` reads by path. A format is one file in this folder, with one line here and one row in docs/data.md."""

from __future__ import annotations

from pathlib import Path

from revgnn.data.readers import (
    edge_list,
    gexf,
    gml,
    graphml,
    linkx,
    matrix_market,
    metis,
    node_link,
    npz,
    ogb,
    pajek,
    pyg,
    pyg_data,
    scipy_npz,
    shchur,
    tu,
)
from revgnn.data.readers.format import Format
from revgnn.data.tables.files import ENDINGS, holds_tables

TABLES = Format(
    name="tables",
    endings=(),
    holds=f"nodes and edges ({', '.join(ending for ending in ENDINGS if not ending.endswith('.gz'))}), see own-data.md",
    gives="folder",
    fits=holds_tables,
)

FORMATS: tuple[Format, ...] = (
    TABLES,
    pyg.FORMAT,
    tu.FORMAT,
    ogb.FORMAT,
    pyg_data.FOLDER,
    scipy_npz.FORMAT,
    shchur.FORMAT,
    npz.FORMAT,
    linkx.FORMAT,
    pyg_data.FORMAT,
    graphml.FORMAT,
    gexf.FORMAT,
    gml.FORMAT,
    pajek.FORMAT,
    node_link.FORMAT,
    edge_list.FORMAT,
    matrix_market.FORMAT,
    metis.FORMAT,
)
"""Where several fit, the first is meant: those that look into a file stand before those that go by its name."""


def find_format(path: Path) -> Format | None:
    """Return the format of a file or folder that exists, or None."""
    return next((format for format in FORMATS if format.matches(path)), None)


def is_file_name(name: str) -> bool:
    """Return whether a name ends as the files of a format do."""
    return any(format.may_be(name) for format in FORMATS)
