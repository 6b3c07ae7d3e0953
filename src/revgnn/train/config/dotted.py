"""Settings under dotted keys: `model.depth=28` sets the value of `depth` in the section `model`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from revgnn.train.config.errors import ConfigError
from revgnn.train.config.yaml_text import read_yaml_text


def read_assignment(assignment: str) -> tuple[str, Any]:
    """Return the key and the value of `KEY=VALUE`. The value is read as YAML.

    Raises:
        ConfigError: if there is no `=`, no key, or the value is not YAML.
    """
    key, equals, text = assignment.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"a setting has the form KEY=VALUE, such as model.depth=28, got {assignment!r}.")
    try:
        return key.strip(), read_yaml_text(text, f"the value of {key}")
    except ConfigError:
        raise ConfigError(f"the value of {key} cannot be read: {text!r}; quote it if it is text.") from None


def assign(values: dict[str, Any], key: str, value: Any) -> None:
    """Set the value under a dotted key of nested dictionaries, in place. Missing sections are added.

    Raises:
        ConfigError: if a part of the key before the last is a single value.
    """
    *sections, name = key.split(".")
    for depth, section in enumerate(sections, start=1):
        inner = values.setdefault(section, {})
        if inner is None:
            inner = values[section] = {}
        if not isinstance(inner, dict):
            raise ConfigError(f"{'.'.join(sections[:depth])} is a single value and has no key {[*sections, name][depth]!r}.")
        values = inner
    values[name] = value


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Yield every value of nested dictionaries with its dotted key."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
