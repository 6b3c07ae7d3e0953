"""Presets for any data set: RevGNN with 64 channels in 2 groups, on the whole graph."""

from __future__ import annotations

from revgnn.experiments.row import Preset
from revgnn.models.config import ModelConfig
from revgnn.train.config import RunConfig


def _preset(depth: int) -> Preset:
    model = ModelConfig(family="reversible", depth=depth, channels=64, groups=2, dropout=0.1)
    return Preset(f"revgnn-{depth}", f"RevGNN with {depth} layers, for any data set.", RunConfig(model=model, epochs=100))


PRESETS = tuple(_preset(depth) for depth in (7, 28, 112))
"""From shallow to deep."""
