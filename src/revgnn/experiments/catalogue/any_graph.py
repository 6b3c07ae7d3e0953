"""Presets for any data set: one that looks at the graph, and RevGNN with 64 channels in 2 groups, on the whole graph."""

from __future__ import annotations

from revgnn.experiments.row import Preset
from revgnn.models.config import ModelConfig
from revgnn.train.config import OptimConfig, RunConfig

_DEEP = 28
"""From here on blocks start at zero, the rate falls with depth, and rises in the first epochs: with these, 1,001 layers score
what 28 do (docs/studies.md, Minesweeper)."""


def _preset(depth: int) -> Preset:
    model = ModelConfig(family="reversible", depth=depth, channels=64, groups=2, dropout=0.1)
    run = RunConfig(model=model, epochs=100)
    if depth >= _DEEP:
        run = run.replace({"model.block_init": "zero", "optim": OptimConfig(warmup=10, reference_depth=_DEEP)})
    return Preset(f"revgnn-{depth}", f"RevGNN with {depth} layers, for any data set.", run)


AUTO = Preset(
    "auto",
    "Looks at the graph and chooses network and training, with reasons.",
    _preset(_DEEP).config.replace({"model.block_init": "default", "optim": OptimConfig()}),
    notes=("What is printed here is where it starts from: the settings depend on the graph (revgnn.experiments.auto).",),
)

PRESETS = (AUTO, *(_preset(depth) for depth in (7, _DEEP, 112, 1001)))
"""Auto first, then from shallow to deep."""
