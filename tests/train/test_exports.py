"""The names that `revgnn.train` exports."""

from __future__ import annotations

import inspect

import pytest

import revgnn.train


@pytest.mark.parametrize("name", revgnn.train.__all__)
def test_every_export_is_a_documented_class_or_function(name: str) -> None:
    value = getattr(revgnn.train, name)
    assert inspect.isclass(value) or inspect.isfunction(value)
    assert value.__doc__


def test_the_table_of_lazy_names_is_the_export_list() -> None:
    assert revgnn.train.__all__ == sorted(name for names in revgnn.train._HOMES.values() for name in names)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = revgnn.train.trian
