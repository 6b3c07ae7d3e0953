"""Features: fitted on training rows alone, stored as JSON."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

from revgnn.data.tables import encoding
from revgnn.data.tables.encoding import CategoryEncoding, NumberEncoding, encode_all, fit, parse
from revgnn.data.tables.spec import Kind


def parsed(values: list[Any], kind: str) -> encoding.Parsed:
    return parse(pa.chunked_array([pa.array(values)]), Kind(kind))[0]


def fitted(values: list[Any], kind: str, training: list[bool], most: int = 100) -> tuple[encoding.ColumnEncoding, np.ndarray]:
    column = parsed(values, kind)
    found = fit("c", Kind(kind), column, np.array(training), most)
    return found, encode_all([found], {"c": column}, len(values))[0]


def test_numbers_are_scaled_by_training_rows() -> None:
    found, x = fitted([1.0, 3.0, None, 100.0], "numeric", [True, True, True, False])
    assert found == NumberEncoding("c", "numeric", "", mean=2.0, deviation=1.0, missing=True)
    assert found.feature_names == ["c", "c is missing"]
    np.testing.assert_array_equal(x, [[-1, 0], [1, 0], [0, 1], [98, 0]])


def test_other_rows_change_nothing() -> None:
    training = [True, True, True, False]
    assert fitted([1.0, 3.0, 2.0, 5.0], "numeric", training)[0] == fitted([1.0, 3.0, 2.0, -1e9], "numeric", training)[0]
    assert fitted(["a", "b", "a", "x"], "categorical", training)[0] == fitted(["a", "b", "a", None], "categorical", training)[0]


def test_no_indicator_if_training_rows_miss_nothing() -> None:
    found, x = fitted([1.0, 3.0, None], "numeric", [True, True, False])
    assert found.width == 1
    np.testing.assert_array_equal(x, [[-1], [1], [0]])  # the mean of the training rows


def test_a_constant_becomes_0() -> None:
    """Its mean is a rounding away from its value, by which nothing is divided."""
    np.testing.assert_allclose(fitted([0.1] * 7 + [0.2], "numeric", [True] * 7 + [False])[1], [[0.0]] * 7 + [[0.1]], atol=1e-7)


def test_categories() -> None:
    found, x = fitted(["b", "a", None, "z"], "categorical", [True, True, True, False])
    assert found == CategoryEncoding("c", ("a", "b"), other=False, missing=True)
    np.testing.assert_array_equal(x, [[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]])


def test_the_most_frequent_categories_are_told_apart() -> None:
    found, x = fitted(["a", "b", "b", "c", "c", "d"], "categorical", [True] * 6, most=2)
    assert found == CategoryEncoding("c", ("b", "c"), other=True, missing=False)
    np.testing.assert_array_equal(x[[0, 5]], [[0, 0, 1]] * 2)


def test_among_equally_frequent_categories_the_alphabet_decides() -> None:
    assert fitted(["d", "c", "b", "a"], "categorical", [True] * 4, most=2)[0].feature_names == ["c = a", "c = b", "c is another"]


def test_unknown_categories_are_counted() -> None:
    found, _ = fitted(["a", "b"], "categorical", [True, True])
    x, unknown = encode_all([found], {"c": parsed(["b", "x", "y", None], "categorical")}, 4)
    assert unknown == {"c": 2}
    np.testing.assert_array_equal(x, [[0, 1], [0, 0], [0, 0], [0, 0]])


def test_json_keeps_every_digit() -> None:
    for values, kind in (([0.1, 1 / 3, None], "numeric"), (["ü", '"', "=cmd"], "categorical"), (["yes", "no", "no"], "boolean")):
        found, _ = fitted(values, kind, [True] * 3)
        assert encoding.from_dict(json.loads(json.dumps(encoding.as_dict(found)))) == found
