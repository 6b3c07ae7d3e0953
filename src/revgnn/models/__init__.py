"""Networks: a configuration becomes encoder, stack and head. Configurations can be read without loading torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from revgnn.models.config import ModelConfig
from revgnn.models.solver_config import SolverConfig

if TYPE_CHECKING:
    from revgnn.models.build import build_model, num_parameters
    from revgnn.models.deep_gnn import DeepGNN
    from revgnn.models.equilibrium import EquilibriumBlock, EquilibriumGNN
    from revgnn.models.revgat import RevGAT

_MODULE_OF = {
    "DeepGNN": "revgnn.models.deep_gnn",
    "EquilibriumBlock": "revgnn.models.equilibrium",
    "EquilibriumGNN": "revgnn.models.equilibrium",
    "RevGAT": "revgnn.models.revgat",
    "build_model": "revgnn.models.build",
    "num_parameters": "revgnn.models.build",
}

__all__ = [
    "DeepGNN",
    "EquilibriumBlock",
    "EquilibriumGNN",
    "ModelConfig",
    "RevGAT",
    "SolverConfig",
    "build_model",
    "num_parameters",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)
