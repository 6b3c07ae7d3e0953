"""Small runs whose layers are cut over processes, and which one process trains alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from revgnn.train import RunConfig
from tests.distributed.networks import COMMON, FAMILIES

REVERSIBLE: dict[str, Any] = {"family": "reversible", "depth": 5, "channels": 8, "dropout": 0.3}

NETWORKS: dict[str, dict[str, Any]] = {
    # edge features, which all stages use; statistics of batch norm
    "reversible": {
        "model": {**REVERSIBLE, "norm": "batch"},
        "optim": {"lr": 0.01, "clip_norm": 0.5},
        "parts": 7,  # of 34 and 35 nodes
        "parts_per_step": 4,
    },
    "residual": FAMILIES["residual"],
    "tied": {"model": {**REVERSIBLE, "depth": 6, "tied": True}, "parts_per_step": 5},
    "revgat": FAMILIES["revgat"],
    "segments": {"model": {**REVERSIBLE, "segments": 2}, "label_inputs": 0.5, "parts_per_step": 2},
    "tied, one layer": {"model": {**REVERSIBLE, "tied": True, "unit": "single"}},
    "tied, segments": {"model": {**REVERSIBLE, "depth": 6, "tied": True, "segments": 2}},
    "tied, stored": {"model": {**REVERSIBLE, "depth": 6, "tied": True, "gradient": "backprop"}},
    "tied, residual": {"model": {"family": "residual", "depth": 6, "channels": 8, "dropout": 0.3, "tied": True}},
    "residual, one layer": {
        "model": {"family": "residual", "depth": 6, "channels": 8, "tied": True, "unit": "single", "gradient": "backprop"}
    },
    "wide state": {"model": {**REVERSIBLE, "state": "float64"}},
    "plain state, stored": {"model": {**REVERSIBLE, "state": "plain", "gradient": "backprop"}},
    "stored, batch norm": {"model": {**REVERSIBLE, "gradient": "backprop", "norm": "batch"}},
    "own dropout": {"model": {**REVERSIBLE, "shared_dropout": False, "input_dropout": 0.2}, "amp": "bf16"},
    "skipped": {"model": {**REVERSIBLE, "norm": "batch", "segments": 2, "stochastic_depth": 0.8}},
    "skipped, residual": {
        "model": {"family": "residual", "depth": 5, "channels": 8, "stochastic_depth": 0.8, "checkpoint_every": 1},
        "parts_per_step": 1,
    },
    # steps in which no place of the tied layer is evaluated, so that its weights have no gradient
    "skipped, tied": {"model": {**REVERSIBLE, "tied": True, "unit": "single", "stochastic_depth": 0.97}, "parts_per_step": 1},
    "skipped, stored": {
        "model": {**REVERSIBLE, "depth": 4, "tied": True, "gradient": "backprop", "stochastic_depth": 0.97},
        "parts_per_step": 1,
    },
    "one part a step": {"model": REVERSIBLE, "parts_per_step": 1},
    "few labels": {"model": REVERSIBLE, "parts": 120, "epochs": 1},
}

FIRST = ("reversible", "residual", "tied")
"""Those that the default tests train."""

OTHERS = tuple(name for name in NETWORKS if name not in FIRST)

THREE = tuple(name for name in NETWORKS if name not in ("residual", "revgat"))
"""Those with enough layers and stored states for three stages."""

INTERLEAVED = ("reversible", "tied", "skipped, tied", "tied, one layer", "one part a step", "few labels")
"""Those that are trained with several pieces of the stack in each process."""


def run_of(name: str, **changes: Any) -> RunConfig:
    """Return a small run."""
    return RunConfig.parse({**COMMON, "parts_per_step": 3, **NETWORKS[name]}).replace(changes)


def graphs_run(data: Path) -> RunConfig:
    """Return a small run on the many graphs that `write_tu` has written."""
    model = {**REVERSIBLE, "norm": "batch"}
    several = {"graphs_per_batch": 9, "parts_per_step": 2, "epochs": 2, "device": "cpu"}
    return RunConfig.parse({"data": {"name": str(data)}, "model": model, **several})
