"""Networks: a configuration becomes an encoder, a stack or an equilibrium, and a head. Configurations import no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from revgnn._lazy import lazy_names
from revgnn.models.config import (
    EquilibriumConfig,
    ModelConfig,
    ResidualConfig,
    ReversibleConfig,
    RevGATConfig,
    SolverConfig,
)

if TYPE_CHECKING:
    from revgnn.models.base import AbstractModel, TrainingState
    from revgnn.models.build import build_model, num_parameters
    from revgnn.models.deep_gnn import DeepGNN
    from revgnn.models.equilibrium import EquilibriumBlock, EquilibriumGNN
    from revgnn.models.randomness import shared_dropout_mask
    from revgnn.models.revgat import RevGAT

__all__ = [
    "AbstractModel",
    "DeepGNN",
    "EquilibriumBlock",
    "EquilibriumConfig",
    "EquilibriumGNN",
    "ModelConfig",
    "ResidualConfig",
    "RevGAT",
    "RevGATConfig",
    "ReversibleConfig",
    "SolverConfig",
    "TrainingState",
    "build_model",
    "num_parameters",
    "shared_dropout_mask",
]

_HOMES = {
    "revgnn.models.base": ("AbstractModel", "TrainingState"),
    "revgnn.models.build": ("build_model", "num_parameters"),
    "revgnn.models.deep_gnn": ("DeepGNN",),
    "revgnn.models.equilibrium": ("EquilibriumBlock", "EquilibriumGNN"),
    "revgnn.models.randomness": ("shared_dropout_mask",),
    "revgnn.models.revgat": ("RevGAT",),
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
