"""What a user says about tables, beside the tables themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from revgnn.data.dataset import TaskSetting

OnBadRows = Literal["refuse", "drop"]


@dataclass(frozen=True)
class TableOptions:
    """Options of reading tables. Each replaces what `graph.yaml` says, or what would be found out.

    Attributes:
        edges: path of the table of edges; None: the one beside the nodes.
        graph_file: path of the file that says how columns are understood; None: `graph.yaml` beside the nodes.
        labels: names of the columns of labels.
        kinds: kinds by column, such as {"age": "categorical", "edges.amount": "ignored"}.
        split_ratios: shares of training, validation and test nodes.
        stratify: cut each class by the ratios.
        split_time: the column by which nodes are ordered in time.
        label_file: for graph files: a file with one label a node (`revgnn.data.readers.label_file`).
        task: what the labels are, one of `TaskSetting`; None: as they look.
        on_bad_rows: "refuse" raises at the first row that cannot be used; "drop" leaves such rows out and counts them.
    """

    edges: str | None = None
    graph_file: str | None = None
    labels: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)
    split_ratios: tuple[float, float, float] | None = None
    stratify: bool | None = None
    split_time: str | None = None
    label_file: str | None = None
    on_bad_rows: OnBadRows = "refuse"
    task: TaskSetting | None = None
