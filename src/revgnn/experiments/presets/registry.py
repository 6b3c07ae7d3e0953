"""Runs by name. A preset is a function without arguments that returns a `RunConfig`; its name is the function's, with dashes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from revgnn.train.config import RunConfig
from revgnn.train.config.errors import ConfigError, did_you_mean

Build = Callable[[], RunConfig]


@dataclass(frozen=True)
class Preset:
    """A named run.

    Attributes:
        name: as the command line knows it.
        build: makes the configuration.
        parameters: learned numbers of its model on the data set it is for; None for a preset that fits any data set.
    """

    name: str
    build: Build
    parameters: int | None = None

    @property
    def description(self) -> str:
        """First line of the function's docstring."""
        return (self.build.__doc__ or "").strip().partition("\n")[0]


_PRESETS: dict[str, Preset] = {}


def preset(*, parameters: int | None = None) -> Callable[[Build], Build]:
    """Decorator: make a function known by its name."""

    def register(build: Build) -> Build:
        name = getattr(build, "__name__").replace("_", "-")  # noqa: B009  (a Callable need not have a name; functions do)
        if name in _PRESETS:
            raise ValueError(f"there are two presets called {name}.")
        _PRESETS[name] = Preset(name, build, parameters)
        return build

    return register


def get_preset(name: str) -> RunConfig:
    """The run of that name.

    Raises:
        ConfigError: if there is none, with the nearest names.
    """
    found = _PRESETS.get(name.lower().replace("_", "-"))
    if found is None:
        hint = did_you_mean(name, _PRESETS) or f"; there are {', '.join(_PRESETS)}."
        raise ConfigError(f"unknown preset {name!r}{hint}")
    return found.build().model_copy(update={"preset": found.name})


def all_presets() -> tuple[Preset, ...]:
    """Every preset, in the order in which they are written down."""
    return tuple(_PRESETS.values())
