"""Choosing a configuration class by its tag: `family` for networks, `conv` for convolutions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import InitErrorDetails

T = TypeVar("T")


def choose(key: str, tag: Any, classes: Mapping[str, type[T]]) -> type[T]:
    """Return the class of a tag.

    Args:
        key: the setting that holds the tag, for the error.
        tag: a key of `classes`.

    Raises:
        ValidationError: the one pydantic raises for a literal, if `classes` does not have the tag.
    """
    if isinstance(tag, str) and tag in classes:
        return classes[tag]
    *others, last = map(repr, classes)
    expected = f"{', '.join(others)} or {last}"
    raise ValidationError.from_exception_data(
        "ModelConfig", [InitErrorDetails(type="literal_error", loc=(key,), input=tag, ctx={"expected": expected})]
    )
