"""Presets for any data set: one that looks at the graph, and RevGNN with 64 channels in 2 groups, on the whole graph."""

from __future__ import annotations

from revgnn.experiments.row import Preset
from revgnn.models.config import ModelConfig
from revgnn.train.config import RunConfig

_DEEP = 28
"""From here on blocks start at zero, with which 112 layers train faster (docs/studies.md, Cora)."""


def _preset(depth: int) -> Preset:
    start = "zero" if depth >= _DEEP else "default"
    model = ModelConfig(family="reversible", depth=depth, channels=64, groups=2, dropout=0.1, block_init=start)
    return Preset(f"revgnn-{depth}", f"RevGNN with {depth} layers, for any data set.", RunConfig(model=model, epochs=100))


AUTO = Preset(
    "auto",
    "Looks at the graph and chooses network and training, with reasons.",
    _preset(_DEEP).config.replace({"model.block_init": "default"}),
    notes=("What is printed here is where it starts from: the settings depend on the graph (revgnn.experiments.auto).",),
)

PRESETS = (AUTO, *(_preset(depth) for depth in (7, _DEEP, 112)))
"""Auto first, then from shallow to deep."""
