"""What a run keeps of its tables: the use of each column and all that was fitted, as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from revgnn.data.tables import encoding
from revgnn.data.tables.encoding import ColumnEncoding
from revgnn.data.tables.labels import Class, LabelEncoding
from revgnn.data.tables.report import ReadReport
from revgnn.data.tables.spec import GraphSpec, parse_spec

VERSION = 1


@dataclass(frozen=True)
class StoredTables:
    """How tables become the inputs and outputs of a trained network. New tables are read in the same way.

    Attributes:
        spec: the use of each column.
        nodes, edges: encodings of the columns of features, in the order of the network's inputs.
        labels: what the network's outputs mean.
    """

    spec: GraphSpec
    nodes: tuple[ColumnEncoding, ...]
    edges: tuple[ColumnEncoding, ...]
    labels: LabelEncoding

    def as_dict(self) -> dict[str, Any]:
        """Return all as JSON values."""
        return {
            "version": VERSION,
            "graph": self.spec.as_dict(),
            "nodes": [encoding.as_dict(column) for column in self.nodes],
            "edges": [encoding.as_dict(column) for column in self.edges],
            "labels": self.labels.as_dict(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> StoredTables:
        """Return what `as_dict` described; `where` names its origin.

        Raises:
            ValueError: if it is damaged or of another version.
        """
        if values.get("version") != VERSION:
            raise ValueError(f"{where} has version {values.get('version')!r}; this revgnn reads version {VERSION}.")
        try:
            nodes, edges = (tuple(encoding.from_dict(column) for column in values[table]) for table in ("nodes", "edges"))
            return cls(parse_spec(values["graph"], where), nodes, edges, LabelEncoding.from_dict(values["labels"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{where} is damaged ({type(error).__name__}: {error}).") from None


@dataclass(frozen=True, eq=False)
class TableSource:
    """Where a data set comes from, if it was read from tables: a field of `NodeDataset`.

    Attributes:
        ids: the ids of the N nodes, as they came.
        id_column: the name of their column.
        stored: what a run must keep to read new tables in the same way.
        report: what was read.
        has_split: the parts of the split come from the tables or are drawn; False where all nodes with a label of new tables are
            test nodes, since nothing says otherwise.
        unknown: number of nodes and edges by column whose category did not occur in training, such as {"nodes: city": 3}.
    """

    ids: pa.Array
    id_column: str
    stored: StoredTables
    report: ReadReport
    unknown: dict[str, int]
    has_split: bool = True

    @property
    def classes(self) -> tuple[Class, ...]:
        """The classes or labels by name, in the order of the network's outputs; for a binary task no and yes."""
        return self.stored.labels.classes
