"""Presets for any data set: one that looks at the graph, and RevGNN with 64 channels in 2 groups, on the whole graph."""

from __future__ import annotations

from revgnn.experiments.row import Preset
from revgnn.models.config import ModelConfig
from revgnn.train.config import RunConfig


def _preset(depth: int) -> Preset:
    model = ModelConfig(family="reversible", depth=depth, channels=64, groups=2, dropout=0.1)
    return Preset(f"revgnn-{depth}", f"RevGNN with {depth} layers, for any data set.", RunConfig(model=model, epochs=100))


AUTO = Preset(
    "auto",
    "Looks at the graph and chooses network and training, with reasons.",
    _preset(28).config,
    notes=("What is printed here is where it starts from: the settings depend on the graph (revgnn.experiments.auto).",),
)

PRESETS = (AUTO, *(_preset(depth) for depth in (7, 28, 112)))
"""Auto first, then from shallow to deep."""
