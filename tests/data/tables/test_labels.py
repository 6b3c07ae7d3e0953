"""Labels as text, numbers, several columns and lists; what is not a class is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from revgnn.data.tables.labels import LabelEncoding, LabelError, find_separator, fit_labels

NAN = float("nan")


def fitted(separator: str = "", **columns: list[Any]) -> tuple[LabelEncoding, list[Any]]:
    table = pa.table(columns)
    found = fit_labels(table, list(columns), separator)
    assert LabelEncoding.from_dict(json.loads(json.dumps(found.as_dict()))) == found
    y, bad = found.encode(table)
    assert not bad.any()
    return found, y.tolist()


@pytest.mark.parametrize(
    ("values", "task", "classes", "y"),
    [
        (["gold", "basic", "", "silver"], "multiclass", ("basic", "gold", "silver"), [1, 0, -1, 2]),
        (["yes", "no", None, "no"], "binary", ("no", "yes"), [1, 0, -1, 0]),
        (["10", "2", "30", ""], "multiclass", (2, 10, 30), [1, 0, 2, -1]),
        ([3, 1, None, 2], "multiclass", (1, 2, 3), [2, 0, -1, 1]),
        ([1.0, 0.0, None, 1.0], "binary", (0, 1), [1, 0, -1, 1]),
        ([True, False, None, True], "binary", ("false", "true"), [1, 0, -1, 1]),
        (["007", "7", "", "007"], "binary", ("007", "7"), [0, 1, -1, 0]),
    ],
)
def test_one_label_a_node(values: list[Any], task: str, classes: tuple[Any, ...], y: list[int]) -> None:
    found, encoded = fitted(label=values)
    assert (found.task, found.classes, encoded) == (task, classes, y)


def test_several_columns() -> None:
    found, y = fitted(label_a=["1", "0", ""], label_b=["yes", "no", ""])
    assert (found.task, found.classes) == ("multilabel", ("label_a", "label_b"))
    np.testing.assert_array_equal(y, [[1, 1], [0, 0], [NAN, NAN]])


def test_lists() -> None:
    found, y = fitted(label=[["b", "a"], [], None, ["a"]])
    assert (found.task, found.classes) == ("multilabel", ("a", "b"))
    np.testing.assert_array_equal(y, [[1, 1], [0, 0], [NAN, NAN], [1, 0]])


def test_lists_in_cells_of_text() -> None:
    values = ["b|a", "a", "", "b | c"]
    assert find_separator(pa.chunked_array([values])) == "|"
    found, y = fitted("|", labels=values)
    assert found.classes == ("a", "b", "c")
    np.testing.assert_array_equal(y, [[1, 1, 0], [1, 0, 0], [NAN] * 3, [0, 1, 1]])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([f"name {i}" for i in range(500)], "500 different values in 500 rows"),
        (["a", "a"], "only the value 'a'"),
        (["", None], "no value"),
        ([{"a": 1}], "labels are text, numbers"),
    ],
)
def test_what_is_not_a_class_is_refused(values: list[Any], message: str) -> None:
    with pytest.raises(LabelError, match=message):
        fitted(label=values)


AMOUNTS = [
    [0.5, 1.25, 3.0],
    ["0.5", "1.25", ""],
    list(range(1000, 1500)),
    [17, 18, 19, 21, 25, 30, 33, 35, 36, 38, 40, 41, 42, 44, 47, 50, 55, 60, 61, 65, 70] * 50,
]


@pytest.mark.parametrize("values", AMOUNTS, ids=["fractions", "text", "years", "ages"])
def test_amounts_are_numbers_to_predict(values: list[Any]) -> None:
    found, y = fitted(age=values)
    assert (found.task, found.classes, found.num_outputs) == ("regression", ("age",), 1)
    np.testing.assert_array_equal(np.array(y)[:, 0], [float(v) if v != "" else NAN for v in values])


@pytest.mark.parametrize("values", AMOUNTS[:2], ids=["fractions", "text"])
def test_fractions_are_no_classes(values: list[Any]) -> None:
    with pytest.raises(LabelError, match=r"continuous numbers, such as 0.5, which are no classes; .*--task regression"):
        fit_labels(pa.table({"age": values}), ["age"], "", "multiclass")


def test_a_named_task_decides() -> None:
    years, rates = pa.table({"y": list(range(1990, 2020))}), pa.table({"y": [1, 2, 3, 2]})
    assert len(fit_labels(years, ["y"], "", "multiclass").classes) == 30
    assert fit_labels(rates, ["y"], "").task == "multiclass"
    assert fit_labels(rates, ["y"], "", "regression").task == "regression"
    assert fit_labels(pa.table({"y": [1, 0]}), ["y"], "", "multilabel").task == "multilabel"
    with pytest.raises(LabelError, match="a binary task has two classes, and y has 3"):
        fit_labels(rates, ["y"], "", "binary")
    with pytest.raises(LabelError, match="regression needs numbers, and y has 'a' in row 1"):
        fit_labels(pa.table({"y": ["a", "b", "1"]}), ["y"], "", "regression")
    with pytest.raises(LabelError, match="a binary task has one column of labels"):
        fit_labels(pa.table({"y_a": [1, 0], "y_b": [0, 1]}), ["y_a", "y_b"], "", "binary")


def test_several_numbers() -> None:
    found, y = fitted(y_a=[0.5, 1.0, None], y_b=["2.5", "-1e3", "7"])
    assert (found.task, found.classes) == ("regression", ("y_a", "y_b"))
    np.testing.assert_array_equal(y, [[0.5, 2.5], [1.0, -1000.0], [NAN, 7.0]])
    _, bad = found.encode(pa.table({"y_a": ["1", "many"], "y_b": ["", "2"]}))
    assert bad.tolist() == [False, True]


def test_many_classes_that_count_up() -> None:
    assert len(fitted(label=[i % 70 for i in range(1400)])[0].classes) == 70


def test_several_columns_must_be_yes_or_no() -> None:
    with pytest.raises(LabelError, match="label_b has '2' in row 2"):
        fitted(label_a=["1", "0"], label_b=["1", "2"])


def test_labels_of_other_tables() -> None:
    found, _ = fitted(label=["a", "b", "c"])
    y, bad = found.encode(pa.table({"label": ["c", "", "x"]}))
    assert y.tolist() == [2, -1, -1]
    assert bad.tolist() == [False, False, True]
    lists, _ = fitted(label=[["a"], ["b"]])
    assert lists.encode(pa.table({"label": [["a", "x"], []]}))[1].tolist() == [True, False]
