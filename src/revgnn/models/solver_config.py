"""How an equilibrium is solved for and differentiated, as one frozen value."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Method = Literal["fixed-point", "anderson", "broyden"]
EquilibriumGradient = Literal["implicit", "phantom", "one-step"]


class SolverConfig(BaseModel):
    """Settings of an equilibrium network. The paper does not give its own; these are ours."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Method = Field(default="anderson", description="Solver of the state and of the adjoint system.")
    rtol: float = Field(default=1e-4, ge=0.0, description="Relative tolerance: rms of f(z) - z to rms of f(z).")
    atol: float = Field(default=0.0, ge=0.0, description="Absolute tolerance on the state: rms of f(z) - z.")
    forward_steps: int = Field(default=30, ge=1, description="Evaluations of the unit at most, in training.")
    backward_steps: int = Field(default=30, ge=1, description="Steps of the adjoint solve at most (implicit).")
    evaluation_steps: int = Field(default=60, ge=1, description="Evaluations of the unit at most, in evaluation.")
    history: int = Field(
        default=18, ge=4, description="States the solver keeps: anderson two for each past iterate, and two; broyden one for each."
    )
    damping: float = Field(default=1.0, gt=0.0, le=1.0, description="Of fixed-point steps; mixing of anderson and broyden.")
    gradient: EquilibriumGradient = Field(
        default="implicit", description="implicit: exact; phantom: through a few iterations; one-step: through one."
    )
    phantom_steps: int = Field(default=5, ge=1, description="Iterations that phantom goes through.")
    phantom_damping: float = Field(default=0.5, gt=0.0, le=1.0, description="Damping of those.")
    warm_start: bool = Field(default=False, description="In training, start at each node from its last solution.")
    pretraining: int = Field(default=0, ge=0, description="Optimiser steps at first with depth / 2 plain repeats of the unit.")
    jacobian_weight: float = Field(default=0.0, ge=0.0, description="Weight of the Jacobian penalty in the loss.")

    @model_validator(mode="after")
    def _check(self) -> SolverConfig:
        if self.rtol == self.atol == 0.0:
            raise ValueError("rtol and atol are both 0, which no solve meets; set rtol to 1e-6 or more.")
        return self
