"""Every setting of a run, with its values, default and description, taken from the configuration itself."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Union

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from revgnn.models.config import ConvConfig, ModelConfig, all_settings
from revgnn.train.config.dotted import flatten
from revgnn.train.config.errors import ConfigError, nearest
from revgnn.train.config.run_config import FREE_ON_RESUME, RunConfig

DEFAULT_CONV = ModelConfig.model_fields["convolution"].default.conv


@dataclass(frozen=True)
class Setting:
    """A setting that `--set KEY=VALUE` changes.

    Attributes:
        key: dotted, as users write it.
        values: what it may be, in words.
        default: as YAML writes it; "" if it has none.
        others: the default of those families of networks that have another one, by the family's name.
        families: the families that have the setting; empty if all have it, or if it is not of the network.
        free: whether a resumed run may have another value.
        description: what it does, and when to change it.
    """

    key: str
    values: str
    default: str
    others: dict[str, str]
    families: tuple[str, ...]
    free: bool
    description: str


def all_run_settings() -> list[Setting]:
    """Return all settings, in the order of config.yaml."""
    return [
        Setting(
            key,
            _in_words(field.annotation, field.metadata),
            _default(field) or DEFAULT_CONV * (key == "model.conv"),
            _other_defaults(key, field),
            _families(key),
            key in FREE_ON_RESUME | {"preset"},
            field.description or "",
        )
        for key, field in _fields(RunConfig)
    ]


def find_settings(key: str) -> list[Setting]:
    """Return the setting with this key, or all of a section such as `model` or `optim`.

    Raises:
        ConfigError: if there is none; it names the nearest known keys.
    """
    settings = all_run_settings()
    found = [setting for setting in settings if setting.key == key or setting.key.startswith(f"{key}.")]
    if not found:
        ends = {setting.key.rpartition(".")[2]: setting.key for setting in settings}
        near = [ends[key]] if key in ends else nearest(key, [setting.key for setting in settings])
        guess = f"did you mean {' or '.join(near)}?" if near else "`revgnn config` lists all."
        raise ConfigError(f"there is no setting {key!r}; {guess}")
    return found


def _fields(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    fields = all_settings() if section is ModelConfig else section.model_fields
    for name, field in fields.items():
        inner = _section(field.annotation)
        if inner is None:
            yield f"{prefix}{name}", field
        else:
            yield from _fields(inner, f"{prefix}{name}.")


def _section(annotation: Any) -> type[BaseModel] | None:
    """Return the section that a field holds, or may hold; None if it is a value."""
    options = typing.get_args(annotation) if _is_union(annotation) or typing.get_origin(annotation) is typing.Annotated else ()
    for option in options or (annotation,):
        if isinstance(option, type) and issubclass(option, BaseModel) and not issubclass(option, ConvConfig):
            return option
    return None


def _families(key: str) -> tuple[str, ...]:
    """Return the families of networks that have a setting, if not all have it."""
    first, _, rest = key.partition(".")
    name = rest.partition(".")[0]
    if first != "model" or name not in all_settings():
        return ()
    having = [family for family, cls in ModelConfig.FAMILIES.items() if name in cls.model_fields]
    return () if not having or len(having) == len(ModelConfig.FAMILIES) else tuple(having)


def _other_defaults(key: str, field: FieldInfo) -> dict[str, str]:
    """Return the defaults of a setting of the network, by the families in which it is another one."""
    section, _, name = key.partition(".")
    if section != "model" or name == "family":
        return {}
    own = {family: cls.model_fields[name] for family, cls in ModelConfig.FAMILIES.items() if name in cls.model_fields}
    return {family: _default(other) for family, other in own.items() if _default(other) != _default(field)}


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return ""
    if isinstance(value, BaseModel):
        return ", ".join(f"{key}={inner}" for key, inner in flatten(value.model_dump(mode="json")))
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _in_words(annotation: Any, limits: list[Any]) -> str:
    """Return the values of a type, within limits."""
    if _is_union(annotation):
        parts = [_in_words(option, limits) for option in typing.get_args(annotation) if option is not type(None)]
        return " or ".join([*parts, *(["null"] if type(None) in typing.get_args(annotation) else [])])
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return ", ".join(map(str, arguments))
    if origin is tuple:
        inner = [_in_words(argument, []) for argument in arguments if argument is not Ellipsis]
        return f"a list of {inner[0]}s" if Ellipsis in arguments else f"{len(inner)} {inner[0]}s"
    if origin is dict:
        return "names and values"
    words = {bool: "true, false", int: "whole number", float: "number", str: "text"}
    return words.get(annotation, str(annotation)) + _limits(limits if annotation in (int, float) else [])


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (Union, types.UnionType)


def _limits(limits: list[Any]) -> str:
    """Return limits as ", at least 1, below 2"."""
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    said = [f"{word} {getattr(limit, name)}" for limit in limits for name, word in words.items() if hasattr(limit, name)]
    return "".join(f", {text}" for text in said)
