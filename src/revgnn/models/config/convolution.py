"""The configuration of a graph convolution: one class for each, with the settings it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

from revgnn.models.config.tagged import choose

Conv = Literal["gen", "gcn", "sage", "gat"]
Aggregation = Literal[
    "max", "mean", "sum", "softmax", "softmax-semigrad", "power", "softmax-sum", "softmax-sum-semigrad", "power-sum"
]


class ConvConfig(BaseModel):
    """The configuration of a convolution. Each convolution has a subclass with the settings it has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    conv: Conv = Field(description="The graph convolution in every block (revgat: gat).")


class GENConfig(ConvConfig):
    """Settings of `revgnn.nn.GENConv`."""

    conv: Literal["gen"] = "gen"
    aggregation: Aggregation = Field(default="max", description="How messages are reduced (gen; sage: mean or sum).")
    learn_aggregation: bool = Field(default=False, description="Learn the softmax temperature or the power exponent (gen).")
    aggregation_init: float = Field(
        default=1.0, allow_inf_nan=False, description="Temperature or exponent; its initial value if it is learned (gen)."
    )
    degree_init: float = Field(
        default=0.0,
        description="y of softmax-sum, softmax-sum-semigrad and power-sum, results times the in-degree to the power "
        "sigmoid(y); its initial value if it is learned (gen).",
    )
    learn_degree: bool = Field(default=False, description="Learn y (gen).")
    clamp_power: bool = Field(
        default=False,
        description="Clamp messages and the mean of their powers to [1e-7, 10], as the authors' code does (gen, power).",
    )
    message_norm: bool = Field(default=False, description="Scale the aggregate to the norm of the node's own state (gen).")
    learn_message_scale: bool = Field(
        default=True,
        description="Learn the factor of message_norm, which starts at 1; the authors' code fixes it by default (gen).",
    )
    mlp_layers: int = Field(default=2, ge=1, description="Linear layers of the MLP after aggregation (gen).")
    edge_features: bool = Field(default=True, description="Use edge features if the data set has them (gen).")


class GCNConfig(ConvConfig):
    """`revgnn.nn.GCNConv`, which has no settings."""

    conv: Literal["gcn"] = "gcn"


class SAGEConfig(ConvConfig):
    """Settings of `revgnn.nn.SAGEConv`."""

    conv: Literal["sage"] = "sage"
    aggregation: Literal["mean", "sum"] = Field(description="How messages are reduced: mean or sum. It has no default.")

    @model_validator(mode="before")
    @classmethod
    def _check_aggregation(cls, settings: Any) -> Any:
        if isinstance(settings, Mapping) and settings.get("aggregation") not in ("mean", "sum"):
            got = f"aggregation={settings['aggregation']!r}" if "aggregation" in settings else "none"
            raise ValueError(f"sage aggregates by mean or sum: set aggregation to one of them, got {got}.")
        return settings


class GATConfig(ConvConfig):
    """Settings of `revgnn.nn.GATConv`."""

    conv: Literal["gat"] = "gat"
    heads: int = Field(default=1, ge=1, description="Attention heads (gat).")
    edge_dropout: float = Field(
        default=0.0,
        ge=0.0,
        lt=1.0,
        description="Share of the edges that each layer leaves out in training, each another set (gat).",
    )
    attention_dropout: float = Field(default=0.0, ge=0.0, lt=1.0, description="Dropout rate of the attention weights (gat).")
    destination: bool = Field(default=True, description="Attention scores have a term of the destination node (gat).")
    symmetric: bool = Field(default=False, description="RevGAT's normalisation by in- and out-degrees (gat).")
    residual_map: bool = Field(default=False, description="Add a linear map of the input to each convolution (gat).")


AnyConvConfig = GENConfig | GCNConfig | SAGEConfig | GATConfig

CONVOLUTIONS: Mapping[str, type[AnyConvConfig]] = {"gen": GENConfig, "gcn": GCNConfig, "sage": SAGEConfig, "gat": GATConfig}


def convolution_settings() -> Mapping[str, FieldInfo]:
    """Return every setting of every convolution by name."""
    settings = dict(ConvConfig.model_fields)
    for kind in CONVOLUTIONS.values():
        settings |= {name: field for name, field in kind.model_fields.items() if name not in settings}
    return settings


def read_convolution(settings: Mapping[str, Any]) -> AnyConvConfig:
    """Return the convolution that flat settings describe. Settings of other convolutions are ignored, except those of attention.

    Raises:
        ValidationError: for an unknown convolution or a bad value.
        ValueError: if a setting of attention is not at its default and the convolution is not attention.
    """
    name = settings.get("conv", "gen")
    kind = choose("conv", name, CONVOLUTIONS)
    if kind is not GATConfig:
        _refuse_attention(name, settings)
    return kind.model_validate({key: value for key, value in settings.items() if key in kind.model_fields})


def _refuse_attention(conv: str, settings: Mapping[str, Any]) -> None:
    for name, field in GATConfig.model_fields.items():
        value = settings.get(name, field.default)
        if name != "conv" and value != field.default:
            raise ValueError(
                f"{name} is an option of attention, got {name}={value} with conv={conv}; "
                f"choose conv=gat, or leave {name} at {field.default}."
            )
