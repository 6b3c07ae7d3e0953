"""Runs by name: `get_preset("revgnn-28")`, or `--preset revgnn-28` on the command line."""

from revgnn.experiments.presets import (
    any_graph,
    arxiv_products,
    human_proteins,
    one_graph,
    published,  # noqa: F401  (each registers its presets)
)
from revgnn.experiments.presets.registry import Preset, all_presets, get_preset, preset

__all__ = ["Preset", "all_presets", "get_preset", "preset"]
