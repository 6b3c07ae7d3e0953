"""What a model is, as one frozen value: depth, width, convolution, and how it is differentiated."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from revgnn.models.solver_config import SolverConfig

Family = Literal["residual", "reversible", "equilibrium", "revgat"]
Conv = Literal["gen", "gcn", "sage", "gat"]
Aggregation = Literal["max", "mean", "sum", "softmax", "softmax-semigrad", "power"]
Norm = Literal["layer", "batch", "none"]
Gradient = Literal["backprop", "checkpoint", "reversible"]
State = Literal["grid", "plain", "float64"]


class ModelConfig(BaseModel):
    """ResGNN, RevGNN, WT-ResGNN and WT-RevGNN are four settings of this value, `family` and `tied`; DEQ-GNN and RevGAT are two
    more.

    The defaults are the paper's RevGNN-80 on ogbn-proteins; `family="revgat"` has its own for `conv` (gat), `norm` (batch) and
    `residual_map` (on). The number of inputs, outputs, edge features and species is the data set's affair and is given to
    `build_model`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Family = Field(
        default="reversible",
        description="residual: h + f(h), pre-activation; reversible: grouped additive coupling; equilibrium: h = f(h), solved for; "
        "revgat: attention with reversible inner layers.",
    )
    tied: bool = Field(default=False, description="Weight-tied: layers share their parameters, see `unit`.")
    unit: Literal["pair", "single"] = Field(
        default="pair",
        description="What is tied. pair: a unit of two layers, applied depth / 2 times; single: all layers but the first.",
    )
    depth: int = Field(
        default=112,
        ge=1,
        description="Layers; revgat counts its first and last too (of an equilibrium: where unrolled, see `solver.pretraining`).",
    )
    channels: int = Field(default=80, ge=1, description="Width of the node state, all heads side by side.")
    groups: int = Field(
        default=2, ge=1, description="Groups the channels are split into (reversible: at least 2; revgat: 1 is residual, ResGAT)."
    )
    conv: Conv = Field(default="gen", description="The graph convolution in every block (revgat: gat).")
    heads: int = Field(default=1, ge=1, description="Attention heads (gat only).")
    edge_dropout: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="Share of the edges left out in training, others in each layer (gat only)."
    )
    attention_dropout: float = Field(default=0.0, ge=0.0, lt=1.0, description="Rate on the attention weights (gat only).")
    destination: bool = Field(default=True, description="Attention scores have a term of the destination (gat only).")
    symmetric: bool = Field(default=False, description="RevGAT's normalisation by in- and out-degrees (gat only).")
    residual_map: bool = Field(default=False, description="A linear map of the input is added to each convolution (gat only).")
    aggregation: Aggregation = Field(default="max", description="How messages are reduced (gen; sum, mean and max also for sage).")
    learn_aggregation: bool = Field(default=False, description="Learn the softmax temperature or the power exponent.")
    aggregation_init: float = Field(default=1.0, description="(Initial) temperature or exponent.")
    message_norm: bool = Field(default=False, description="Scale the aggregate to the norm of the node's own state (gen).")
    mlp_layers: int = Field(default=2, ge=1, description="Linear layers of the MLP after aggregation (gen).")
    edge_features: bool = Field(default=True, description="Use edge features where the data set has them (gen).")
    norm: Norm = Field(
        default="layer", description="Normalisation before the activation of each block, in the MLP and before the head."
    )
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0, description="Rate.")
    input_dropout: float = Field(default=0.0, ge=0.0, lt=1.0, description="Rate on the input features.")
    shared_dropout: bool = Field(
        default=True, description="One mask for all layers of a step (the paper's), or one for each layer."
    )
    identical_groups: bool = Field(
        default=False, description="Start the groups of a layer as copies of one another, as the authors' code does."
    )
    gradient: Gradient | None = Field(
        default=None,
        description="How the stack is differentiated. Default: reversible; residual: checkpoint; equilibrium: `solver`.",
    )
    checkpoint_every: int | None = Field(default=None, ge=1, description="Layers between two stored states. Default: sqrt(depth).")
    segments: int = Field(default=1, ge=1, description="Pieces of the reversible stack; segments - 1 inner states are stored.")
    state: State = Field(
        default="grid", description="How the node state is kept: float32 on an exact grid, plain float32, or float64."
    )
    solver: SolverConfig | None = Field(default=None, description="How an equilibrium is solved for (equilibrium only).")

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_family(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("family") == "revgat":
            return {"conv": "gat", "norm": "batch", "residual_map": True, **values}
        return values

    @model_validator(mode="after")
    def _check(self) -> ModelConfig:
        if self.family == "reversible":
            if self.groups < 2:
                raise ValueError(f"a reversible model needs at least 2 groups, got groups={self.groups}.")
            if self.channels % self.groups:
                nearest = self.groups * max(1, round(self.channels / self.groups))
                raise ValueError(
                    f"channels must be a multiple of groups, got channels={self.channels}, groups={self.groups}; "
                    f"the nearest that fits is channels={nearest}."
                )
        elif self.family == "equilibrium":
            self._check_equilibrium()
        elif self.family == "revgat":
            self._check_revgat()
        if self.is_residual and self.gradient == "reversible":
            raise ValueError("a residual model cannot be inverted: choose gradient=backprop or checkpoint, or family=reversible.")
        if self.tied and self.unit == "pair" and self.depth % 2:
            raise ValueError(
                f"a tied model repeats a unit of two layers: depth must be even, got {self.depth}; try {self.depth + 1}."
            )
        if self.solver is not None and self.family != "equilibrium":
            raise ValueError(f"a {self.family} model is not solved for: leave solver out, or choose family=equilibrium.")
        if self.conv == "sage" and self.aggregation not in ("mean", "sum"):
            raise ValueError(f"sage aggregates by mean or sum, got aggregation={self.aggregation!r}.")
        if self.family == "residual" and self.depth < 2:
            raise ValueError(
                f"a residual model has a bare convolution and then its layers: depth must be 2 or more, got {self.depth}."
            )
        self._check_attention()
        return self

    def _check_attention(self) -> None:
        if self.conv == "gat":
            if self.block_channels % self.heads:
                raise ValueError(f"heads must divide the channels of a group ({self.block_channels}), got heads={self.heads}.")
            return
        for name in ("heads", "edge_dropout", "attention_dropout", "destination", "symmetric", "residual_map"):
            value, default = getattr(self, name), type(self).model_fields[name].default
            if value != default:
                raise ValueError(
                    f"{name} is an option of attention, got {name}={value} with conv={self.conv}; "
                    f"choose conv=gat, or leave {name} at {default}."
                )

    def _check_revgat(self) -> None:
        if self.conv != "gat":
            raise ValueError(f"a revgat model is made of attention, got conv={self.conv}; choose conv=gat, or family=reversible.")
        if self.tied:
            raise ValueError("a revgat model has no weight-tied form: leave tied off, or choose family=reversible with conv=gat.")
        if self.depth < 2:
            raise ValueError(f"a revgat model has a first and a last attention: depth must be 2 or more, got {self.depth}.")
        unit = self.heads * self.groups
        if self.channels % unit:
            raise ValueError(
                f"channels must be a multiple of heads x groups = {unit}, got channels={self.channels}, heads={self.heads}, "
                f"groups={self.groups}; the nearest that fits is channels={unit * max(1, round(self.channels / unit))}."
            )

    def _check_equilibrium(self) -> None:
        if self.norm == "batch":
            raise ValueError("an equilibrium has no batch statistics, which would move with each iteration: choose norm=layer.")
        if self.edge_dropout or self.attention_dropout:
            raise ValueError(
                "edge_dropout and attention_dropout are drawn anew at each evaluation, which would leave an equilibrium no fixed "
                "point: set both to 0."
            )
        if self.gradient not in (None, "backprop"):
            raise ValueError(
                "an equilibrium is differentiated as solver.gradient says, or unrolled by gradient=backprop, "
                f"got gradient={self.gradient}."
            )
        if self.tied:
            raise ValueError("an equilibrium is the limit of a weight-tied network: leave tied off, or choose family=residual.")
        if self.depth % 2:
            raise ValueError(
                f"an equilibrium repeats a unit of two layers where it is unrolled: depth must be even, got {self.depth}; "
                f"try {self.depth + 1}."
            )

    @property
    def block_channels(self) -> int:
        """Channels one block sees."""
        return self.channels // self.groups if self.family in ("reversible", "revgat") else self.channels

    @property
    def is_residual(self) -> bool:
        """Its layers are residual, and have no inverse."""
        return self.family == "residual" or (self.family == "revgat" and self.groups == 1)
