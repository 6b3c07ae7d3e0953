"""Small runs of every family, which several processes and one process train alike."""

from __future__ import annotations

from typing import Any

from revgnn.train import RunConfig

COMMON: dict[str, Any] = {
    "data": {"name": "synthetic:nodes=240,degree=8,tasks=3"},
    "optim": {"lr": 0.01},
    "evaluation": {"parts": 2, "views": 2},
    "epochs": 2,
    "parts": 5,
    "device": "cpu",
}

FAMILIES: dict[str, dict[str, Any]] = {
    "reversible": {"model": {"family": "reversible", "depth": 4, "channels": 8, "dropout": 0.3, "norm": "batch"}},
    "segments": {"model": {"family": "reversible", "depth": 4, "channels": 8, "dropout": 0.3, "segments": 2}, "label_inputs": 0.5},
    # processes skip other layers, each in its part; with batch norm, whose statistics of a skipped layer stay
    "skipped": {
        "model": {"family": "reversible", "depth": 4, "channels": 8, "dropout": 0.3, "norm": "batch", "stochastic_depth": 0.8}
    },
    "residual": {"model": {"family": "residual", "depth": 3, "channels": 8, "dropout": 0.3, "gradient": "checkpoint"}},
    "tied": {"model": {"family": "reversible", "depth": 4, "channels": 8, "tied": True, "dropout": 0.1}},
    "revgat": {
        "model": {
            "family": "revgat",
            "depth": 4,
            "channels": 12,
            "dropout": 0.2,
            "convolution": {"conv": "gat", "heads": 3, "edge_dropout": 0.3},
        }
    },
    "equilibrium": {
        "model": {
            "family": "equilibrium",
            "channels": 8,
            "dropout": 0.1,
            "solver": {"jacobian_weight": 0.1, "forward_steps": 8, "backward_steps": 8, "evaluation_steps": 8},
        }
    },
}

FIRST = ("reversible", "segments", "skipped")
"""Those that the default tests train."""


def run_of(family: str, **changes: Any) -> RunConfig:
    """Return a small run of a family."""
    return RunConfig.parse({**COMMON, **FAMILIES[family]}).replace(changes)
