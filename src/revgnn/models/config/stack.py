"""What the configurations of networks with a stack of layers have in common."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from revgnn.models.config.base import ModelConfig

BlockInit = Literal["default", "scaled", "zero"]
Gradient = Literal["backprop", "checkpoint", "reversible"]
State = Literal["grid", "plain", "float64"]


class StackConfig(ModelConfig):
    """A network with a stack of layers, residual or reversible."""

    shared_dropout: bool = Field(
        default=True, description="One dropout mask for all layers of a step (the paper's), or one per layer."
    )
    stochastic_depth: float = Field(
        default=0.0,
        ge=0.0,
        lt=1.0,
        description="Stochastic depth: a training step skips layer l of L with probability l / L times this rate.",
    )
    block_init: BlockInit = Field(
        default="default",
        description="How large blocks start. default: as their convolution does; scaled: divided by sqrt(depth); zero: a layer "
        "starts as the identity.",
    )
    gradient: Gradient | None = Field(
        default=None,
        description="How the stack is differentiated. Default: reversible; of residual layers: checkpoint; of an equilibrium: "
        "`solver.gradient`.",
    )
    checkpoint_every: int | None = Field(
        default=None, ge=1, description="Layers between two stored states (checkpoint). Default: sqrt(depth)."
    )
    state: State = Field(
        default="grid", description="How the node state is kept: float32 on an exact grid, plain float32, or float64."
    )

    @model_validator(mode="after")
    def _check_gradient(self) -> StackConfig:
        if self.is_residual and self.gradient == "reversible":
            raise ValueError("a residual model cannot be inverted: choose gradient=backprop or checkpoint, or family=reversible.")
        return self

    def capture_obstacle(self) -> str | None:
        if self.stochastic_depth:
            return "stochastic depth draws on the host which layers a step skips; set model.stochastic_depth=0"
        return super().capture_obstacle()

    @property
    def block_factor(self) -> float:
        """The factor of the outputs of all blocks at the start (`block_init`)."""
        return {"default": 1.0, "scaled": self.depth**-0.5, "zero": 0.0}[self.block_init]

    @property
    def is_residual(self) -> bool:
        """Whether the layers are residual, h + f(h), which have no inverse: one group."""
        return self.groups == 1

    @property
    def effective_gradient(self) -> Gradient:
        """The gradient strategy in use: `gradient`, or the default."""
        return self.gradient or ("checkpoint" if self.is_residual else "reversible")


class GroupsConfig(StackConfig):
    """A stack whose layers couple groups of channels."""

    groups: int = Field(
        default=2, ge=1, description="Groups that the channels are split into (reversible: 2 or more; revgat: 1 gives ResGAT)."
    )
    identical_groups: bool = Field(
        default=False, description="Start the groups of a layer as copies of one another, as the authors' code does."
    )
    segments: int = Field(
        default=1, ge=1, description="Pieces of the stack; segments - 1 states between them are stored (reversible)."
    )


class WeightTyingConfig(StackConfig):
    """A stack whose layers may share their parameters."""

    tied: bool = Field(default=False, description="Weight-tied: layers share their parameters, see `unit`.")
    unit: Literal["pair", "single"] = Field(
        default="pair",
        description="What is tied. pair: a unit of two layers, applied depth / 2 times; single: all layers but the first, at any "
        "depth.",
    )

    @model_validator(mode="after")
    def _check_unit(self) -> WeightTyingConfig:
        if self.repeats_pair and self.depth % 2:
            raise ValueError(
                f"a tied model with unit=pair repeats a unit of two layers: depth must be even, got {self.depth}; set unit=single "
                f"(a first layer of its own, then one tied layer), which takes any depth, or try depth={self.depth + 1}."
            )
        return self

    @property
    def repeats_pair(self) -> bool:
        """Whether the stack is one unit of two layers, applied depth / 2 times."""
        return self.tied and self.unit == "pair"
