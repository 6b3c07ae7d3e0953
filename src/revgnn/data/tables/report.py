"""What was read from two tables: counts, the use of each column, dropped rows with reasons."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ColumnUse:
    """One column.

    Attributes:
        table: "nodes" or "edges".
        name: of the column.
        kind: as in `graph.yaml`.
        features: inputs of the network that it gives.
        missing: its cells without a value.
        note: what was found in it, or why it is ignored.
    """

    table: str
    name: str
    kind: str
    features: int
    missing: int
    note: str


@dataclass(frozen=True)
class ReadReport:
    """What was read.

    Attributes:
        nodes, edges: paths of the tables.
        num_nodes, num_edges: rows in use.
        columns: the use of each column.
        dropped: number of dropped rows by reason, such as {"edges: unknown node": 3}.
        notes: what else a user should know, one sentence each.
        spec: path of the `graph.yaml` that was obeyed, or where a new one belongs.
        spec_is_new: there was no `graph.yaml`.
    """

    nodes: str
    edges: str
    num_nodes: int
    num_edges: int
    columns: tuple[ColumnUse, ...]
    dropped: dict[str, int]
    notes: tuple[str, ...]
    spec: str
    spec_is_new: bool
