"""What a format of files is: its endings, what it holds, and the function that reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from revgnn.data.tables.contents import EdgeTable, GraphTables

Arrays: TypeAlias = dict[str, np.ndarray]
"""Arrays by field, as in the table of `revgnn.data.readers.npz`."""

Gives = Literal["arrays", "graph", "edges", "folder"]


@dataclass(frozen=True)
class Format:
    """A format of files, or a layout of folders, that holds a graph.

    Attributes:
        name: as in messages and in the documentation.
        endings: of the file's name, lower case, with the dot; empty for a layout of folders.
        holds: what is read from it, for the documentation.
        gives: what `read` returns. "arrays": `Arrays`, a data set with its labels; "graph": `GraphTables`, nodes and edges with
            attributes; "edges": `EdgeTable`, without anything about nodes; "folder": `load` finds and reads the layout itself.
        read: reads a file; raises `ValueError` in one line if it cannot be used. It executes nothing of the file.
        fits: whether a path is of this format, where the ending alone does not say so. For a layout of folders, the only test.
    """

    name: str
    endings: tuple[str, ...]
    holds: str
    gives: Gives
    read: Callable[[Path], Any] | None = None
    fits: Callable[[Path], bool] | None = None

    def may_be(self, path: Path | str) -> bool:
        """Return whether the name of a path has one of the endings."""
        return Path(path).name.casefold().endswith(self.endings) if self.endings else False

    def matches(self, path: Path) -> bool:
        """Return whether a file or folder that exists is of this format."""
        if self.endings and not (self.may_be(path) and path.is_file()):
            return False
        return self.fits is None or self.fits(path)

    def arrays(self, path: Path) -> Arrays:
        """Return the arrays in a file of a format that gives arrays."""
        assert self.read is not None
        return self.read(path)

    def graph(self, path: Path) -> GraphTables:
        """Return the tables in a file of a format that gives nodes and edges."""
        assert self.read is not None
        return self.read(path)

    def edges(self, path: Path) -> EdgeTable:
        """Return the edges in a file of a format that gives edges."""
        assert self.read is not None
        return self.read(path)
