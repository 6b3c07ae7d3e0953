"""The configuration of RevGAT (Li et al. 2021, arXiv:2106.07476)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from revgnn.models.config.base import Norm
from revgnn.models.config.convolution import GATConfig
from revgnn.models.config.stack import GroupsConfig


class RevGATConvConfig(GATConfig):
    """The attention of RevGAT, which has a residual map by default."""

    residual_map: bool = Field(default=True, description="Add a linear map of the input to each convolution.")


class RevGATConfig(GroupsConfig):
    """RevGAT: attention layers, of which all but the first and the last are reversible; with one group they are residual."""

    family: Literal["revgat"] = "revgat"
    convolution: RevGATConvConfig = Field(default=RevGATConvConfig(), description="The attention of every layer.")
    norm: Norm = Field(default="batch", description="Normalisation before the activation of each block and before the last layer.")

    @property
    def tied(self) -> bool:
        """False: RevGAT has no weight-tied form."""
        return False

    @classmethod
    def _check_foreign(cls, settings: Mapping[str, Any]) -> None:
        super()._check_foreign(settings)
        if settings.get("tied"):
            raise ValueError("a revgat model has no weight-tied form: leave tied off, or choose family=reversible with conv=gat.")

    @field_validator("convolution", mode="before")
    @classmethod
    def _read_convolution(cls, convolution: Any) -> Any:
        if not isinstance(convolution, Mapping):
            return convolution
        conv = convolution.get("conv", "gat")
        if conv != "gat":
            raise ValueError(f"a revgat model is made of attention, got conv={conv}; choose conv=gat, or family=reversible.")
        return {name: value for name, value in convolution.items() if name in RevGATConvConfig.model_fields}

    @model_validator(mode="after")
    def _check_depth(self) -> RevGATConfig:
        if self.depth < 2:
            raise ValueError(f"a revgat model has a first and a last attention: depth must be 2 or more, got {self.depth}.")
        return self

    @model_validator(mode="after")
    def _check_heads(self) -> RevGATConfig:
        unit = self.convolution.heads * self.groups
        if self.channels % unit:
            raise ValueError(
                f"channels must be a multiple of heads x groups = {unit}, got channels={self.channels}, "
                f"heads={self.convolution.heads}, groups={self.groups}; the nearest that fits is "
                f"channels={unit * max(1, round(self.channels / unit))}."
            )
        return self
