"""Which files are tables, and which two of them make a graph. Imports no pyarrow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from revgnn.data.tables.contents import GraphTables

Format = Literal["csv", "tsv", "jsonl", "parquet"]

ENDINGS: dict[str, Format] = {
    ".csv": "csv",
    ".csv.gz": "csv",
    ".tsv": "tsv",
    ".tsv.gz": "tsv",
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl",
    ".parquet": "parquet",
}
"""The endings of files that are read as tables."""

SPEC_NAME = "graph.yaml"
"""Name of the file beside the tables that says how each column is understood."""

_NODE_NAMES = ("nodes", "node", "vertices")
_EDGE_NAMES = ("edges", "edge", "links")
_GRAPH_NAMES = ("graphs",)


@dataclass(frozen=True)
class TableFiles:
    """The files of one graph.

    Attributes:
        nodes: the table of nodes.
        edges: the table of edges; the same file, if one file holds both.
        spec: the file that says how each column is understood; it may not exist yet.
        read: reads both, given whether bad rows are dropped; None if both are tables.
        graphs: the table of graphs, if there is one beside the nodes.
    """

    nodes: Path
    edges: Path
    spec: Path
    graphs: Path | None = None
    read: Callable[[bool], GraphTables] | None = None

    @property
    def name(self) -> str:
        """The name of the data set: that of the file that holds both, or of the folder of the nodes."""
        return self.nodes.name.split(".")[0] if self.nodes == self.edges else self.nodes.resolve().parent.name

    @property
    def source(self) -> Path:
        """The file that holds both, or the folder of the nodes."""
        return self.nodes if self.nodes == self.edges else self.nodes.parent


def table_format(path: Path | str) -> Format | None:
    """Return the format of a table by the ending of its name, or None."""
    name = Path(path).name.casefold()
    return next((kind for ending, kind in ENDINGS.items() if name.endswith(ending)), None)


def holds_tables(folder: Path) -> bool:
    """Return whether a folder holds a table of nodes or of edges, or a `graph.yaml`."""
    return folder.is_dir() and ((folder / SPEC_NAME).is_file() or bool(_named(folder, _NODE_NAMES) or _named(folder, _EDGE_NAMES)))


def find_tables(
    path: Path, edges: Path | None = None, spec: Path | None = None, *, names: tuple[str, str] | None = None
) -> TableFiles:
    """Return the files of a graph.

    Args:
        path: a folder with `nodes` and `edges` in one of the `ENDINGS`, or the table of nodes.
        edges: the table of edges. Default: named by `graph.yaml`, or the table named `edges` in the same folder.
        spec: the file that says how each column is understood. Default: `graph.yaml` in the folder of the nodes.
        names: names of the two tables in another folder; tables of these names are preferred to all others.

    Raises:
        ValueError: if a table is missing, several could be meant, or an ending is not known.
    """
    from revgnn.data.tables.spec import named_files

    folder = path if path.is_dir() else path.parent
    if names is not None and path.is_dir():
        likely = [folder / Path(name).name for name in names]
        if likely[0].is_file() and (edges is not None or likely[1].is_file()):
            edges = likely[1] if edges is None else _existing(edges)
            return TableFiles(likely[0], edges, folder / SPEC_NAME, _graphs(folder))
    spec = folder / SPEC_NAME if spec is None else spec
    if edges is None and path.is_dir() and spec.is_file():
        named = named_files(spec)
        nodes = _existing(folder / named[0])
        return TableFiles(nodes, _existing(folder / named[1]), spec, _graphs(nodes.parent))
    nodes = _existing(path) if not path.is_dir() else _only(folder, _NODE_NAMES)
    edges = _only(folder, _EDGE_NAMES) if edges is None else _existing(edges)
    return TableFiles(nodes, edges, spec, _graphs(nodes.parent))


def _graphs(folder: Path) -> Path | None:
    return _only(folder, _GRAPH_NAMES) if _named(folder, _GRAPH_NAMES) else None


def _named(folder: Path, names: tuple[str, ...]) -> list[Path]:
    tables = sorted(path for path in folder.iterdir() if path.is_file() and table_format(path) is not None)
    return [path for path in tables if path.name.casefold().split(".")[0] in names]


def _only(folder: Path, names: tuple[str, ...]) -> Path:
    found = _named(folder, names)
    what = names[0]
    if len(found) > 1:
        raise ValueError(
            f"{folder} holds {' and '.join(p.name for p in found)}; keep one, or name the tables: --nodes F --edges F."
        )
    if not found:
        others = sorted(path.name for path in folder.iterdir() if path.is_file() and table_format(path) is not None)
        seen = f"it holds {', '.join(others[:5])}" if others else "it holds no tables"
        raise ValueError(
            f"{folder} has no table of {what}: expected {what}{', '.join(ENDINGS)} ({seen}); name the tables: --nodes F --edges F."
        )
    return found[0]


def _existing(path: Path) -> Path:
    if table_format(path) is None:
        raise ValueError(f"{path} is not a table: its name must end in {', '.join(ENDINGS)}.")
    if not path.is_file():
        raise ValueError(f"there is no file {path}.")
    return path
