"""Presets for any data set: 64 channels in 2 groups, whole graph, from shallow to deep."""

from __future__ import annotations

from revgnn.experiments.presets.registry import preset
from revgnn.models.config import ModelConfig
from revgnn.train.config import RunConfig


def _reversible(depth: int) -> RunConfig:
    return RunConfig(model=ModelConfig(family="reversible", depth=depth, channels=64, groups=2, dropout=0.1), epochs=100)


@preset()
def revgnn_7() -> RunConfig:
    """RevGNN with 7 layers, for any data set."""
    return _reversible(7)


@preset()
def revgnn_28() -> RunConfig:
    """RevGNN with 28 layers, for any data set."""
    return _reversible(28)


@preset()
def revgnn_112() -> RunConfig:
    """RevGNN with 112 layers, for any data set."""
    return _reversible(112)
