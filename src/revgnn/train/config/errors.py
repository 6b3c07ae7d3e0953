"""Says what is wrong with a configuration in one line, with the nearest keys there are."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterator

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails


class ConfigError(ValueError):
    """A configuration that cannot be read: the message names each bad key by its dotted path."""


def nearest(name: str, known: typing.Iterable[str], limit: int = 3) -> list[str]:
    """Up to `limit` of `known`, most alike first; letter case is ignored."""
    by_lower = {k.lower(): k for k in known}
    return [by_lower[k] for k in difflib.get_close_matches(name.lower(), by_lower, n=limit, cutoff=0.5)]


def did_you_mean(name: str, known: typing.Iterable[str]) -> str:
    """'; did you mean a, b?', or nothing if nothing is near."""
    close = nearest(name, known)
    return f"; did you mean {', '.join(close)}?" if close else ""


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """All that pydantic found wrong, in one line."""
    return "; ".join(_explain_one(detail, model) for detail in error.errors(include_url=False))


def dotted_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key of a configuration by its dotted path."""
    for name, field in model.model_fields.items():
        inner = _model_of(field.annotation)
        yield f"{prefix}{name}"
        if inner is not None:
            yield from dotted_keys(inner, f"{prefix}{name}.")


def _explain_one(detail: ErrorDetails, model: type[BaseModel]) -> str:
    location = [str(part) for part in detail["loc"]]
    path = ".".join(location)
    if detail["type"] == "extra_forbidden":
        return f"unknown key {path}{_suggest_key(location, model)}"
    message = detail["msg"].removeprefix("Value error, ").rstrip(".")
    if detail["type"] == "value_error":
        return f"{path}: {message}" if path else message
    if detail["type"] == "missing":
        return f"{path} is missing"
    return f"{path}: {message[:1].lower()}{message[1:]}, got {detail['input']!r}"


def _suggest_key(location: list[str], model: type[BaseModel]) -> str:
    *parents, key = location
    owner: type[BaseModel] | None = model
    for parent in parents:
        field = owner.model_fields.get(parent) if owner else None
        owner = _model_of(field.annotation) if field else None
    prefix = "".join(f"{parent}." for parent in parents)
    siblings = [f"{prefix}{name}" for name in nearest(key, owner.model_fields if owner else ())]
    # A key given one level too high or too low: `depth` for `model.depth`.
    elsewhere = [path for path in dotted_keys(model) if path.rpartition(".")[2] == key]
    close = [*elsewhere, *siblings][:3]
    if close:
        return f"; did you mean {', '.join(close)}?"
    return f"; keys here: {', '.join(owner.model_fields)}" if owner else ""


def _model_of(annotation: object) -> type[BaseModel] | None:
    """The configuration class in an annotation such as `DataConfig | None`."""
    for candidate in (annotation, *typing.get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None
