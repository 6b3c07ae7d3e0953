"""Look-up of presets by name."""

from __future__ import annotations

from revgnn.experiments.catalogue import any_graph, small_graphs
from revgnn.experiments.row import Preset, normalized
from revgnn.experiments.tables import all_tables
from revgnn.train.config import RunConfig
from revgnn.train.config.errors import ConfigError, did_you_mean


def all_presets() -> tuple[Preset, ...]:
    """Return every preset: those for any graph, those for small graphs, then the networks of all tables, each once.

    Raises:
        ValueError: if two presets have one name.
    """
    of_tables = (row.preset for table in all_tables() for row in table.rows)
    presets: dict[str, Preset] = {}
    for preset in (*any_graph.PRESETS, *small_graphs.PRESETS, *of_tables):
        if presets.setdefault(preset.name, preset) is not preset:
            raise ValueError(f"there are two presets called {preset.name}.")
    return tuple(presets.values())


def get_preset(name: str) -> RunConfig:
    """Return the run of the preset with this name.

    Raises:
        ConfigError: if there is none, with the nearest names.
    """
    presets = {preset.name: preset for preset in all_presets()}
    found = presets.get(normalized(name))
    if found is None:
        hint = did_you_mean(name, presets) or f"; there are {', '.join(presets)}."
        raise ConfigError(f"unknown preset {name!r}{hint}")
    return found.run
