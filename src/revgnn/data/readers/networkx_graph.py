"""A graph that networkx has read, as tables of nodes and edges."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from revgnn.data.readers.text_file import check_size, unreadable

if TYPE_CHECKING:
    import networkx as nx
    import pyarrow as pa

    from revgnn.data.tables.contents import GraphTables

_MAX_COLUMNS = 1000
_SPARSE = 20
"""More attributes than `_MAX_COLUMNS` are refused if fewer than one of this many cells has a value: the tables would be far larger
than the file."""

_log = logging.getLogger("revgnn.data")


def read_with_networkx(path: Path, what: str, read: Callable[[str], nx.Graph], without: Iterable[str] = ()) -> GraphTables:
    """Read a file by one of networkx's functions, and return its tables.

    Args:
        path: the file, plain or with the ending .gz.
        what: name of the format, for messages.
        read: the function of networkx.
        without: attributes of edges that only number them.

    Raises:
        ValueError: in one line, if the file is missing, is larger than `MAX_TEXT_BYTES`, or cannot be read.
    """
    check_size(path)
    try:
        graph = read(str(path))
    except RecursionError:
        raise ValueError(f"{path} cannot be read as {what}: it is nested too deep.") from None
    except Exception as error:  # the parsers of networkx raise whatever the damage leads to
        raise unreadable(path, what, error) from None
    return tables_of(graph, path, without)


def tables_of(graph: nx.Graph, path: Path, without: Iterable[str] = ()) -> GraphTables:
    """Return the nodes and edges of a graph as tables with the attributes as columns.

    Values that are neither text nor numbers nor yes and no, such as colours and positions, are left out. An attribute `label` of
    which most values differ names nodes: its column is `name`, so that it is not taken for their classes.

    Args:
        graph: the graph.
        path: its file, for messages.
        without: attributes of edges that are left out.
    """
    import pyarrow as pa

    from revgnn.data.tables.contents import EDGE_ROLES, ID, NODE_ROLES, SOURCE, TARGET, GraphTables

    nodes = {ID: ids(graph.nodes)} | columns([data for _, data in graph.nodes(data=True)], path, taken=(ID,))
    label = nodes.get("label")
    if label is not None and pa.types.is_string(label.type) and 2 * len(label.drop_null().unique()) > len(label):
        nodes = {("name" if name == "label" and "name" not in nodes else name): column for name, column in nodes.items()}
    sources, targets, attributes = [], [], []
    for source, target, data in graph.edges(data=True):
        sources.append(source)
        targets.append(target)
        attributes.append({name: value for name, value in data.items() if name not in without})
    both = ids([*sources, *targets])
    edges = {SOURCE: both[: len(sources)], TARGET: both[len(sources) :]}
    edges |= columns(attributes, path, taken=(SOURCE, TARGET))
    return GraphTables(pa.table(nodes), pa.table(edges), NODE_ROLES, EDGE_ROLES, directed=graph.is_directed())


def ids(values: Iterable[Any]) -> pa.Array:
    """Return ids as integers if all are, else as text."""
    import pyarrow as pa

    values = list(values)
    if all(type(value) is int and abs(value) < 2**63 for value in values):
        return pa.array(values, pa.int64())
    return pa.array([str(value) for value in values], pa.string())


def columns(rows: list[Mapping[str, Any]], path: Path, taken: tuple[str, ...]) -> dict[str, pa.Array]:
    """Return a column for each attribute; where a row lacks it, the cell is empty.

    Args:
        rows: the attributes of each node or edge.
        path: their file, for messages.
        taken: names that the columns cannot have; such attributes get the ending _2.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    present = sum(map(len, rows))
    if len(names) > _MAX_COLUMNS and len(names) * len(rows) > _SPARSE * present:
        raise ValueError(
            f"{path} has {len(names):,} different attributes, most of them at few of {len(rows):,} nodes or edges; keep fewer."
        )
    found = {}
    for name in names:
        column = _column([row.get(name) for row in rows])
        if column is None:
            _log.info("%s: %s is left out: its values are neither text nor numbers", path, name)
            continue
        text = str(name)
        found[f"{text}_2" if text in taken else text] = column
    return found


def _column(values: list[Any]) -> pa.Array | None:
    """Return a column of one type: yes and no, integers, floats or text; None if no value is of such a type."""
    import pyarrow as pa

    values = [value if isinstance(value, bool | int | float | str) else None for value in values]
    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return None
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds == {int} and all(value is None or abs(value) < 2**63 for value in values):
        return pa.array(values, pa.int64())
    if kinds <= {int, float} and float in kinds:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array([None if value is None else str(value) for value in values], pa.string())
