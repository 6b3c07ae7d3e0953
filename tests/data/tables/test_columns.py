"""What cells mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from revgnn.data.tables.columns import booleans_of, categories_of, dates_of, numbers_of

NAN = float("nan")


def column(*values: Any, kind: pa.DataType | None = None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values[:1], kind), pa.array(values[1:], kind)])


def test_numbers() -> None:
    values = numbers_of(column("1", "+5", " 3 ", ".5", "5.", "1e5", "-2"))
    assert values.numbers.tolist() == [1, 5, 3, 0.5, 5, 100_000, -2]
    assert not values.bad.any()


def test_missing_numbers_are_not_bad() -> None:
    values = numbers_of(column("1", "", "NA", "nan", "?", None, kind=pa.string()))
    np.testing.assert_array_equal(values.numbers, [1, NAN, NAN, NAN, NAN, NAN])
    assert not values.bad.any()


@pytest.mark.parametrize("text", ["x", "1,5", "1.000,5", "inf", "-Infinity", "1e400", "0x10", "1_000", "1 2", "\u0661"])
def test_what_is_no_number_is_bad(text: str) -> None:
    values = numbers_of(column("1", text, "2"))
    assert values.bad.tolist() == [False, True, False]
    assert np.isnan(values.numbers[1])


def test_numbers_of_other_types() -> None:
    np.testing.assert_array_equal(numbers_of(column(1, None, 3)).numbers, [1, NAN, 3])
    np.testing.assert_array_equal(numbers_of(column(True, None, False)).numbers, [1, NAN, 0])
    assert numbers_of(column(1.0, float("inf"))).bad.tolist() == [False, True]


def test_dates() -> None:
    values = dates_of(
        column("1970-01-02", "", "1970-01-01 12:00", "1970-01-01T06:00:00Z", "1970-01-01T08:00:00+02:00", "1970-01-01T00:00:00.5")
    )
    np.testing.assert_allclose(values.numbers, [1, NAN, 0.5, 0.25, 0.25, 0.5 / 86_400])
    assert not values.bad.any()


@pytest.mark.parametrize("text", ["2023-02-30", "2023-13-01", "1.1.2023", "2023", "today", "2023-02-30T00:00:00Z"])
def test_what_is_no_date_is_bad(text: str) -> None:
    assert dates_of(column("2023-01-01", text)).bad.tolist() == [False, True]


def test_dates_in_a_format() -> None:
    values = dates_of(column("02.01.1970", "1.1.1970", "30.02.1970", "", "1970-01-01"), "%d.%m.%Y")
    np.testing.assert_array_equal(values.numbers, [1, 0, NAN, NAN, NAN])
    assert values.bad.tolist() == [False, False, True, False, True]


def test_booleans() -> None:
    values = booleans_of(column("Yes", "no", "", "maybe", "TRUE", "0"))
    np.testing.assert_array_equal(values.numbers, [1, 0, NAN, NAN, 1, 0])
    assert values.bad.tolist() == [False, False, False, True, False, False]


def test_categories() -> None:
    values = categories_of(column("a", " b", "", "a", "NA"))
    assert values.to_pylist() == ["a", "b", None, "a", None]
