"""Messages about configurations that cannot be read: one line, with dotted keys and the nearest known keys."""

from __future__ import annotations

import difflib
import reprlib
import typing
from collections.abc import Iterable, Iterator, Mapping

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from revgnn.models.config import ModelConfig, all_settings

LONGEST = 1_500
"""Characters of a message: about what a terminal shows."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
_SHORT.maxlong = 40
_SHORT.maxlist = _SHORT.maxdict = _SHORT.maxtuple = _SHORT.maxset = 4
_SHORT.maxlevel = 2


class ConfigError(ValueError):
    """A configuration that cannot be read. The message names each bad key by its dotted path: one line, of a length to read."""

    def __init__(self, message: str) -> None:
        # splitting a message of megabytes into words would take as long as printing it
        text = " ".join(message[: 8 * LONGEST].split())
        super().__init__(text if len(text) <= LONGEST else f"{text[:LONGEST]} ...")


def short(value: object) -> str:
    """Return a value as it is written, cut short: aliases in a few lines of YAML can stand for millions of entries."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # an integer with more digits than Python prints
        return f"a value of type {type(value).__name__}"


def nearest(name: str, known: Iterable[str], limit: int = 3) -> list[str]:
    """Return up to `limit` of `known`, the most similar first. Letter case is ignored."""
    by_lower = {k.lower(): k for k in known}
    return [by_lower[k] for k in difflib.get_close_matches(name.lower(), by_lower, n=limit, cutoff=0.5)]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return '; did you mean a, b?', or an empty string if no known name is similar."""
    close = nearest(name, known)
    return f"; did you mean {', '.join(close)}?" if close else ""


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Return everything that pydantic found wrong, in one line."""
    # the first of many say enough, and the nearest known key of each takes time to find
    return "; ".join(_explain_one(detail, model) for detail in error.errors(include_url=False)[:20])


def dotted_keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Yield every key of a configuration by its dotted path."""
    for name, field in _settings(model).items():
        section = _section(field)
        yield f"{prefix}{name}"
        if section is not None:
            yield from dotted_keys(section, f"{prefix}{name}.")


def _explain_one(detail: ErrorDetails, model: type[BaseModel]) -> str:
    # A network's convolution has no section of its own: users write its settings beside those of the network.
    location = [str(part)[:80] for part in detail["loc"] if part != "convolution"]
    path = ".".join(location)
    if detail["type"] == "extra_forbidden":
        return f"unknown key {path}{_suggest_key(location, model)}"
    message = detail["msg"].removeprefix("Value error, ").rstrip(".")
    if detail["type"] == "value_error":
        return f"{path}: {message}" if path else message
    if detail["type"] == "missing":
        return f"{path} is missing"
    return f"{path}: {message[:1].lower()}{message[1:]}, got {short(detail['input'])}"


def _suggest_key(location: list[str], model: type[BaseModel]) -> str:
    *parents, key = location
    section: type[BaseModel] | None = model
    for parent in parents:
        field = _settings(section).get(parent) if section else None
        section = _section(field) if field else None
    known = list(_settings(section)) if section else []
    prefix = "".join(f"{parent}." for parent in parents)
    siblings = [f"{prefix}{name}" for name in nearest(key, known)]
    # A key given one level too high or too low: `depth` for `model.depth`.
    elsewhere = [path for path in dotted_keys(model) if path.rpartition(".")[2] == key]
    close = [*elsewhere, *siblings][:3]
    if close:
        return f"; did you mean {', '.join(close)}?"
    return f"; keys here: {', '.join(known)}" if known else ""


def _settings(section: type[BaseModel]) -> Mapping[str, FieldInfo]:
    """Return the settings of a section by name: of the network, those of all families."""
    return all_settings() if issubclass(section, ModelConfig) else section.model_fields


def _section(field: FieldInfo) -> type[BaseModel] | None:
    """Return the configuration class in an annotation such as `DataConfig | None`."""
    for candidate in (field.annotation, *typing.get_args(field.annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None
