"""The configuration of an equilibrium network: DEQ-GNN (Li et al. 2021, arXiv:2106.07476)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from revgnn.models.config.base import ModelConfig
from revgnn.models.config.convolution import GATConfig
from revgnn.models.config.solver import SolverConfig


class EquilibriumConfig(ModelConfig):
    """DEQ-GNN: the node state is the fixed point of one block."""

    family: Literal["equilibrium"] = "equilibrium"
    gradient: Literal["backprop"] | None = Field(
        default=None, description="backprop: the unit is repeated depth / 2 times instead. Default: as `solver.gradient` says."
    )
    solver: SolverConfig | None = Field(
        default=None, description="How an equilibrium is solved for (equilibrium). Default: the defaults below."
    )

    @property
    def groups(self) -> int:
        """1: the channels are not split."""
        return 1

    @property
    def tied(self) -> bool:
        """False: an equilibrium is the limit of a weight-tied network."""
        return False

    @property
    def effective_solver(self) -> SolverConfig:
        """`solver`, or its defaults."""
        return self.solver or SolverConfig()

    @property
    def effective_gradient(self) -> str:
        """How the network is differentiated: `gradient`, or as the solver is."""
        return self.gradient or self.effective_solver.effective_gradient

    def capture_obstacle(self) -> str:
        return "an equilibrium is solved for until it converges, which the host decides"

    @classmethod
    def _check_foreign(cls, settings: Mapping[str, Any]) -> None:
        if settings.get("tied"):
            raise ValueError("an equilibrium is the limit of a weight-tied network: leave tied off, or choose family=residual.")
        if settings.get("stochastic_depth"):
            raise ValueError(
                f"an equilibrium has no layers to skip, got stochastic_depth={settings['stochastic_depth']}; set it to 0, or "
                "choose family=reversible or residual."
            )

    @field_validator("gradient", mode="before")
    @classmethod
    def _check_gradient(cls, gradient: Any) -> Any:
        if gradient not in (None, "backprop"):
            raise ValueError(
                "an equilibrium is differentiated as solver.gradient says, or unrolled by gradient=backprop, "
                f"got gradient={gradient}."
            )
        return gradient

    @model_validator(mode="after")
    def _check_block(self) -> EquilibriumConfig:
        if self.norm == "batch":
            raise ValueError("batch norm has statistics that change with each iteration of an equilibrium: choose norm=layer.")
        if isinstance(self.convolution, GATConfig) and (self.convolution.edge_dropout or self.convolution.attention_dropout):
            raise ValueError(
                "edge_dropout and attention_dropout are drawn anew at each evaluation, which would leave an equilibrium no fixed "
                "point: set both to 0."
            )
        if self.depth % 2:
            raise ValueError(
                f"an unrolled equilibrium repeats a unit of two layers: depth must be even, got {self.depth}; try {self.depth + 1}."
            )
        return self
