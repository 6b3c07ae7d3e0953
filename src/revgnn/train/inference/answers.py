"""Predictions as a file that joins back to the data by its ids: csv, Parquet, JSON lines or npz."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from revgnn.data import NodeDataset
from revgnn.files import check_regular, replacing
from revgnn.train.inference.pairs import end_columns

ENDINGS = (".csv", ".parquet", ".jsonl", ".npz")
"""Endings of files of predictions."""

_BLOCK_ROWS = 1 << 16


def check_out(out: Path, *, overwrite: bool) -> None:
    """Raise an error if predictions cannot be written to `out`. Nothing is computed before.

    Raises:
        ValueError: for an unknown ending.
        OSError: if the folder does not exist, if `out` is a folder or a device, or if it exists and `overwrite` is not given.
    """
    check_regular(out)
    if out.suffix.casefold() not in ENDINGS:
        raise ValueError(f"{out}: predictions are written as {', '.join(ENDINGS)}; choose one of these endings.")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"{out.parent} does not exist; create it, or choose another --out.")
    if out.exists() and not overwrite:
        raise FileExistsError(f"{out} exists; replace it with --overwrite, or choose another --out.")


@dataclass(frozen=True)
class Answers:
    """Predictions for the N nodes of a data set.

    Attributes:
        dataset: whose ids and classes name the rows and columns.
        values: float32 (N, outputs) by kind: "values" (probabilities or numbers), and perhaps "spread" and "calibrated".
        splits: text (N,): "train", "valid", "test" or "".
        thresholds: of probabilities, for F1; None: one half.
    """

    dataset: NodeDataset
    values: Mapping[str, np.ndarray]
    splits: np.ndarray
    thresholds: Sequence[float] | None = None

    def names(self) -> Sequence[Any]:
        """Return the classes, labels or targets of the task, by name or else by number."""
        data = self.dataset
        if data.tables is not None:
            return data.tables.classes
        return data.task_names or data.objective.default_names

    def table(self) -> pa.Table:
        """Return one row a node, in the order of the data: id, prediction, a column of each value a class, split."""
        data = self.dataset
        columns = data.objective.columns(self.values, self.names(), self.thresholds)
        columns["split"] = pa.array([part or None for part in self.splits.tolist()], pa.string())
        if data.pairs is not None:
            return pa.table(self._ends(columns) | columns)
        if data.tables is None:
            name, ids = data.row, pa.array(np.arange(data.num_rows))
        else:
            name, ids = data.tables.id_column, data.tables.ids
        while name in columns:
            name += "_"
        return pa.table({name: ids, **columns})

    def _ends(self, taken: Mapping[str, Any]) -> dict[str, Any]:
        """Return the columns of the two nodes of each pair, by their ids or else by their numbers."""
        data = self.dataset
        assert data.pairs is not None
        columns: dict[str, Any] = {}
        for name, nodes in zip(end_columns(data), data.pairs.ends.numpy(), strict=True):
            while name in taken or name in columns:
                name += "_"
            columns[name] = pa.array(nodes) if data.tables is None else data.tables.ids.take(pa.array(nodes))
        return columns


def write_table(table: pa.Table, out: Path) -> None:
    """Write a table as csv, Parquet or JSON lines, by the ending of its name. Cells are written as they are."""
    with replacing(out) as temporary:
        match out.suffix.casefold():
            case ".csv":
                with open(temporary, "w", encoding="utf-8", newline="") as file:
                    csv.writer(file, lineterminator="\n").writerow(table.column_names)
                with open(temporary, "ab") as file:
                    pa_csv.write_csv(table, file, pa_csv.WriteOptions(include_header=False, quoting_style="needed"))
            case ".parquet":
                pa_parquet.write_table(table, temporary)
            case _:
                with open(temporary, "w", encoding="utf-8") as file:
                    for batch in table.to_batches(max_chunksize=_BLOCK_ROWS):
                        file.writelines(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in batch.to_pylist())


def write_arrays(arrays: Mapping[str, np.ndarray], out: Path) -> None:
    """Write an .npz file without objects."""
    with replacing(out) as temporary, open(temporary, "wb") as file:  # an open file, since savez appends .npz to a name
        np.savez(file, allow_pickle=False, **arrays)
