"""Training very deep graph neural networks in memory that does not grow with depth.

Names are imported on first use: `import revgnn` alone loads nothing heavy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from revgnn._version import __version__

if TYPE_CHECKING:
    from revgnn.blocks import AdditiveCoupling, PreActivation, Residual, ResidualStack, ReversibleStack, Stack, shared_dropout_mask
    from revgnn.convs import EdgeEncoding, GATConv, GCNConv, GENConv, SAGEConv
    from revgnn.gradients import (
        Backprop,
        CapturedStep,
        CaptureError,
        Checkpoint,
        PerGroup,
        PerLayer,
        Reversible,
        StateRangeError,
        run_stack,
    )
    from revgnn.graph import Graph
    from revgnn.memory import PeakMemory
    from revgnn.models import ModelConfig, build_model, num_parameters

_HOME = {
    "revgnn.blocks": (
        "AdditiveCoupling",
        "PreActivation",
        "Residual",
        "ResidualStack",
        "ReversibleStack",
        "Stack",
        "shared_dropout_mask",
    ),
    "revgnn.convs": ("EdgeEncoding", "GATConv", "GCNConv", "GENConv", "SAGEConv"),
    "revgnn.gradients": (
        "Backprop",
        "CaptureError",
        "CapturedStep",
        "Checkpoint",
        "PerGroup",
        "PerLayer",
        "Reversible",
        "StateRangeError",
        "run_stack",
    ),
    "revgnn.graph": ("Graph",),
    "revgnn.memory": ("PeakMemory",),
    "revgnn.models": ("ModelConfig", "build_model", "num_parameters"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "AdditiveCoupling",
    "Backprop",
    "CaptureError",
    "CapturedStep",
    "Checkpoint",
    "EdgeEncoding",
    "GATConv",
    "GCNConv",
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
    "SAGEConv",
    "Stack",
    "StateRangeError",
    "__version__",
    "build_model",
    "num_parameters",
    "run_stack",
    "shared_dropout_mask",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
