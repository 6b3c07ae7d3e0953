"""How an equilibrium is solved for and differentiated."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Method = Literal["fixed-point", "anderson", "broyden", "reversible"]
EquilibriumGradient = Literal["implicit", "phantom", "one-step"]


class SolverConfig(BaseModel):
    """Settings of the solver and the gradient of an equilibrium. The paper does not state them; the defaults are ours."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Method = Field(
        default="anderson",
        description="Solver of the state and of the adjoint system. reversible: runs backwards; it has no adjoint system.",
    )
    rtol: float = Field(default=1e-4, ge=0.0, description="Relative tolerance: rms of f(z) - z to rms of f(z).")
    atol: float = Field(default=0.0, ge=0.0, description="Absolute tolerance on the state: rms of f(z) - z.")
    forward_steps: int = Field(default=30, ge=1, description="Maximum evaluations of the unit in a training solve.")
    backward_steps: int = Field(default=30, ge=1, description="Maximum steps of the adjoint solve (implicit).")
    evaluation_steps: int = Field(default=60, ge=1, description="Maximum evaluations of the unit in an evaluation solve.")
    history: int = Field(
        default=18,
        ge=4,
        description="Node states that the solver stores. anderson: two per past iterate and two more; broyden: one each.",
    )
    damping: float | None = Field(
        default=None,
        gt=0.0,
        le=1.0,
        description="Damping of fixed-point and reversible steps, mixing of anderson and broyden. Default: 1; reversible: 0.75.",
    )
    relaxation: float = Field(
        default=0.9375,
        gt=0.0,
        lt=1.0,
        description="Relaxation of the two states of a reversible solve: a multiple of 1/64 below 1.",
    )
    gradient: EquilibriumGradient | None = Field(
        default=None,
        description="implicit: exact; phantom: through a few iterations; one-step: through one. Default: implicit. The reversible "
        "method is always differentiated through all of its iterations.",
    )
    phantom_steps: int = Field(default=5, ge=1, description="Iterations that the phantom gradient goes through.")
    phantom_damping: float = Field(default=0.5, gt=0.0, le=1.0, description="Damping of those iterations.")
    warm_start: bool = Field(default=False, description="Start each training solve at the last solution of every node.")
    pretraining: int = Field(
        default=0, ge=0, description="First optimiser steps, in which the unit is repeated depth / 2 times instead."
    )
    jacobian_weight: float = Field(default=0.0, ge=0.0, description="Weight of the Jacobian penalty in the loss.")

    @model_validator(mode="after")
    def _check(self) -> SolverConfig:
        if self.rtol == self.atol == 0.0:
            raise ValueError("rtol and atol are both 0, a tolerance that no solve reaches; set rtol to 1e-6 or more.")
        if self.method == "reversible":
            self._check_reversible()
        return self

    def _check_reversible(self) -> None:
        if self.gradient is not None:
            raise ValueError(
                f"method=reversible is differentiated through its own iterations, got gradient={self.gradient}: leave gradient "
                "out, or choose another method."
            )
        if self.warm_start:
            raise ValueError(
                "method=reversible is differentiated through its iterations, and a warm start leaves few: set warm_start=false, or "
                "choose another method."
            )
        for name in ("forward_steps", "evaluation_steps"):
            if getattr(self, name) < 3:
                raise ValueError(
                    f"method=reversible relaxes two states and then evaluates the unit once more: {name} must be 3 or more, "
                    f"got {getattr(self, name)}."
                )
        if self.relaxation * 64 % 1.0:
            nearest = min(max(round(self.relaxation * 64), 1), 63) / 64
            raise ValueError(
                f"relaxation must be a multiple of 1/64, so that products with it are exact; got {self.relaxation}, "
                f"the nearest is {nearest}."
            )

    @property
    def effective_gradient(self) -> EquilibriumGradient | Literal["reversible"]:
        """The gradient in use: `gradient`, or the default of the method."""
        return "reversible" if self.method == "reversible" else self.gradient or "implicit"

    @property
    def effective_damping(self) -> float:
        """The damping in use: `damping`, or the default of the method."""
        return self.damping or (0.75 if self.method == "reversible" else 1.0)
