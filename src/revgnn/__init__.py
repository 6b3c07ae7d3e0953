"""Training very deep graph neural networks in memory that does not grow with depth.

Names are imported on first use: `import revgnn` alone loads nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from revgnn._lazy import lazy_names
from revgnn._version import __version__

if TYPE_CHECKING:
    from revgnn.api import Run, fit, load, plan
    from revgnn.capture import CapturedStep, CaptureError
    from revgnn.graph import Graph
    from revgnn.memory import PeakMemory
    from revgnn.models import ModelConfig, build_model, num_parameters, shared_dropout_mask
    from revgnn.nn import EdgeEncoding, GATConv, GCNConv, GENBlock, GENConv, PreActivation, SAGEConv
    from revgnn.stack import (
        AdditiveCoupling,
        Backprop,
        Checkpoint,
        PerGroup,
        PerLayer,
        Residual,
        ResidualStack,
        Reversible,
        ReversibleStack,
        Stack,
        StateRangeError,
        run_stack,
    )

__all__ = [
    "AdditiveCoupling",
    "Backprop",
    "CaptureError",
    "CapturedStep",
    "Checkpoint",
    "EdgeEncoding",
    "GATConv",
    "GCNConv",
    "GENBlock",
    "GENConv",
    "Graph",
    "ModelConfig",
    "PeakMemory",
    "PerGroup",
    "PerLayer",
    "PreActivation",
    "Residual",
    "ResidualStack",
    "Reversible",
    "ReversibleStack",
    "Run",
    "SAGEConv",
    "Stack",
    "StateRangeError",
    "__version__",
    "build_model",
    "fit",
    "load",
    "num_parameters",
    "plan",
    "run_stack",
    "shared_dropout_mask",
]

_HOMES = {
    "revgnn.api": ("Run", "fit", "load", "plan"),
    "revgnn.capture": ("CaptureError", "CapturedStep"),
    "revgnn.graph": ("Graph",),
    "revgnn.memory": ("PeakMemory",),
    "revgnn.models": ("ModelConfig", "build_model", "num_parameters", "shared_dropout_mask"),
    "revgnn.nn": ("EdgeEncoding", "GATConv", "GCNConv", "GENBlock", "GENConv", "PreActivation", "SAGEConv"),
    "revgnn.stack": (
        "AdditiveCoupling",
        "Backprop",
        "Checkpoint",
        "PerGroup",
        "PerLayer",
        "Residual",
        "ResidualStack",
        "Reversible",
        "ReversibleStack",
        "Stack",
        "StateRangeError",
        "run_stack",
    ),
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
