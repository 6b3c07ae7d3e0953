"""Labels of nodes: classes by name, several columns of yes and no, lists of labels, or columns of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from revgnn.data.dataset import Task
from revgnn.data.tables.arrow import Column, is_list, is_number, is_text, pc, shown, to_bool
from revgnn.data.tables.columns import booleans_of, numbers_of, text_of

Class = str | int

SEPARATORS = ("|", ";")
"""What separates several labels in one cell of text."""

_MAX_CLASSES = 1000
_FEW_CLASSES = 20
"""More different numbers must count from 0 or 1 to be taken for classes, and more different texts must occur twice on average."""


class LabelError(ValueError):
    """A column that cannot be a column of classes."""


@dataclass(frozen=True)
class LabelEncoding:
    """What the labels of a run mean.

    Attributes:
        columns: the columns of labels.
        task: the kind of labels.
        classes: the classes, or the names of the labels or targets, in the order of the network's outputs.
        separator: what separates several labels in one cell; "" if a cell holds one, or an Arrow list.
    """

    columns: tuple[str, ...]
    task: Task
    classes: tuple[Class, ...]
    separator: str = ""

    @property
    def num_outputs(self) -> int:
        return 1 if self.task == "binary" else len(self.classes)

    @property
    def wanted(self) -> str:
        """What a label must be, for messages."""
        return "it must be a number or empty" if self.task == "regression" else f"classes are {listed(self.classes)}"

    def encode(self, table: Any) -> tuple[Tensor, np.ndarray]:
        """Return `y` as in `NodeDataset`, and which rows hold a label that is not among the classes, bool (N,)."""
        name, *others = self.columns
        if self.task == "regression":
            parsed = [numbers_of(table.column(name)) for name in self.columns]
            matrix = np.stack([values.numbers for values in parsed], axis=1).astype(np.float32)
            return torch.from_numpy(matrix), np.any([values.bad for values in parsed], axis=0)
        if self.task != "multilabel":
            codes, bad = _codes(_as_classes(table.column(name)), self.classes)
            return torch.from_numpy(codes), bad
        if others:  # each is yes or no
            parsed = [booleans_of(table.column(name)) for name in self.columns]
            matrix = np.stack([values.numbers for values in parsed], axis=1).astype(np.float32)
            return torch.from_numpy(matrix), np.any([values.bad for values in parsed], axis=0)
        return _encode_lists(_lists(table.column(name), self.separator), self.classes)

    def as_dict(self) -> dict[str, Any]:
        """Return the encoding as JSON values."""
        return {"columns": list(self.columns), "task": self.task, "classes": list(self.classes), "separator": self.separator}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LabelEncoding:
        """Return the encoding that `as_dict` described."""
        return cls(tuple(values["columns"]), values["task"], tuple(values["classes"]), values["separator"])


def find_separator(column: Column) -> str:
    """Return what separates several labels in the cells of a column of text; "" if each cell holds one label."""
    if not is_text(column):
        return ""
    texts = text_of(column)
    for separator in SEPARATORS:
        parts = pc.split_pattern(texts, separator)
        if bool(pc.any(pc.greater(pc.list_value_length(parts), 1)).as_py()):
            single = pc.utf8_trim_whitespace(pc.list_flatten(parts))
            if len(single.unique()) < len(texts.unique()) or len(texts) < 10:
                return separator
    return ""


def fit_labels(table: pa.Table, columns: list[str], separator: str, task: str = "") -> LabelEncoding:
    """Return the encoding of the labels in the columns of a table.

    Args:
        task: the task that the user named; "": as the values look. Numbers with fractions, and many different numbers that do not
            count from 0 or 1, are then a regression.

    Raises:
        LabelError: if the columns do not hold labels of the task.
    """
    if task == "regression" or (not task and all(_look_like_numbers(table.column(name)) for name in columns)):
        return _fit_numbers(table, columns)
    if len(columns) > 1:
        if task not in ("", "multilabel"):
            raise LabelError(f"a {task} task has one column of labels, and {', '.join(columns[:5])} are {len(columns)}")
        return _fit_columns(table, columns)
    name = columns[0]
    column = table.column(name)
    if is_list(column) or separator:
        items = pa.chunked_array([pc.list_flatten(_lists(column, separator))])
        classes = _sorted(_as_classes(items).unique())
        _check_number(name, classes, len(items))
        return LabelEncoding((name,), "multilabel", classes, separator)
    if task == "multilabel":
        return _fit_columns(table, columns)
    return _fit_classes(column, name, task)


def _fit_classes(column: Column, name: str, task: str) -> LabelEncoding:
    values = _as_classes(column, name)
    classes = _sorted(values.unique())
    if len(classes) < 2:
        seen = f"only the value {classes[0]!r}" if classes else "no value"
        raise LabelError(f"the label {name} has {seen}; a classifier needs two classes.")
    if task == "binary" and len(classes) != 2:
        raise LabelError(f"a binary task has two classes, and {name} has {len(classes):,}")
    if task != "multiclass":
        _check_number(name, classes, len(values) - values.null_count)
    return LabelEncoding((name,), "binary" if task != "multiclass" and len(classes) == 2 else "multiclass", classes)


def _fit_columns(table: pa.Table, columns: list[str]) -> LabelEncoding:
    """Return the encoding of columns of yes and no."""
    for name in columns:
        values = booleans_of(table.column(name))
        if values.bad.any():
            row = int(values.bad.argmax())
            raise LabelError(
                f"with several columns of labels ({', '.join(columns[:5])}) each must hold yes or no (1 or 0), or all of them "
                f"numbers (--task regression); {name} has {shown(table.column(name)[row])} in row {row + 1}."
            )
    return LabelEncoding(tuple(columns), "multilabel", tuple(columns))


def _fit_numbers(table: pa.Table, columns: list[str]) -> LabelEncoding:
    """Return the encoding of columns of numbers. A few cells that are none are bad rows later."""
    for name in columns:
        values = numbers_of(table.column(name))
        if 2 * values.bad.sum() > (~values.missing).sum():
            row = int(values.bad.argmax())
            raise LabelError(f"regression needs numbers, and {name} has {shown(table.column(name)[row])} in row {row + 1}")
        if values.missing.all():
            raise LabelError(f"the label {name} has no value")
    return LabelEncoding(tuple(columns), "regression", tuple(columns))


def _look_like_numbers(column: Column) -> bool:
    """Return whether labels are amounts rather than classes: fractions, or many numbers that do not count from 0 or 1."""
    if not (is_number(column) or is_text(column)) or _has_code(column):
        return False
    values = numbers_of(column)
    known = values.numbers[~values.missing]
    if values.bad.any() or not len(known):
        return False
    if (known != np.trunc(known)).any() or (np.abs(known) > 2**53).any():
        return True
    different = np.unique(known)
    return len(different) > _FEW_CLASSES and not _counts_up(different, len(known))


def _counts_up(numbers: np.ndarray, known: int) -> bool:
    """Return whether different whole numbers, in order, are those of classes: from 0 or 1, nearly all of them, each often."""
    return bool(numbers[0] in (0, 1) and len(numbers) >= 0.9 * numbers[-1] and numbers[-1] < known // 10)


def could_be_labels(table: pa.Table, names: list[str]) -> list[str]:
    """Return which columns hold classes, with their number, for a message: ["plan (3 values)"]."""
    found = []
    for name in names:
        try:
            labels = fit_labels(table, [name], "")
            if labels.task != "regression":
                found.append(f"{name} ({len(labels.classes)} values)")
        except ValueError:
            continue
    return found


def _check_number(name: str, classes: tuple[Class, ...], known: int) -> None:
    if len(classes) > min(_MAX_CLASSES, max(_FEW_CLASSES, known // 2)):
        raise LabelError(f"the label {name} has {len(classes):,} different values in {known:,} rows, too many for classes")


def _as_classes(column: Column, name: str = "") -> Column:
    """Return labels as int64 if all are whole numbers, else as strings; null where there is none.

    Raises:
        LabelError: for numbers that are not whole.
    """
    if pa.types.is_boolean(column.type):
        return pc.cast(column, pa.string())
    if is_list(column) or not (is_text(column) or is_number(column)):
        raise LabelError(f"the label {name} is of the type {column.type}; labels are text, numbers, yes and no, or lists.")
    values = numbers_of(column)
    known = ~values.missing
    if values.bad.any() or not known.any() or _has_code(column):
        return text_of(column)
    numbers = values.numbers
    if (numbers[known] != np.trunc(numbers[known])).any() or (np.abs(numbers[known]) > 2**53).any():
        example = numbers[known][numbers[known] != np.trunc(numbers[known])][:1].tolist() or numbers[known][:1].tolist()
        raise LabelError(
            f"the label {name} holds continuous numbers, such as {example[0]:g}, which are no classes; predict them with --task "
            "regression"
        )
    return pa.chunked_array([pa.array(np.where(known, numbers, 0).astype(np.int64), mask=~known)])


def _has_code(column: Column) -> bool:
    """Return whether a column of text holds codes such as 007, which are not numbers."""
    return is_text(column) and bool(pc.any(pc.match_substring_regex(column, r"^\s*[+-]?0\d+\s*$")).as_py())


def _sorted(values: pa.Array) -> tuple[Class, ...]:
    return tuple(sorted(value for value in values.to_pylist() if value is not None))


def _codes(values: Column, classes: tuple[Class, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return the position of each value among the classes, int64 (N,), -1 without a value; and which values are no class."""
    known = pa.array(classes)
    if known.type != values.type:
        known, values = pc.cast(known, pa.string()), pc.cast(values, pa.string())
    codes = pc.fill_null(pc.index_in(values, known), -1).combine_chunks().to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, (codes < 0) & to_bool(pc.is_valid(values))


def _lists(column: Column, separator: str) -> pa.Array:
    """Return the labels of each node as an Arrow list; null where there is none, empty for no label at all."""
    if separator:
        column = pc.split_pattern(text_of(column), separator)
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _encode_lists(lists: pa.Array, classes: tuple[Class, ...]) -> tuple[Tensor, np.ndarray]:
    """Return 0 and 1, NaN in rows without a list: float32 (N, T); and which rows hold an unknown label."""
    owners = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
    codes, unknown = _codes(_as_classes(pa.chunked_array([pc.list_flatten(lists)])), classes)
    matrix = np.zeros((len(lists), len(classes)), np.float32)
    matrix[owners[codes >= 0], codes[codes >= 0]] = 1
    matrix[pc.is_null(lists).to_numpy(zero_copy_only=False)] = np.nan
    bad = np.zeros(len(lists), bool)
    bad[owners[unknown]] = True
    return torch.from_numpy(matrix), bad


def listed(classes: tuple[object, ...]) -> str:
    """Return the first classes for a message."""
    return ", ".join(map(str, classes[:10])) + (", ..." if len(classes) > 10 else "")
