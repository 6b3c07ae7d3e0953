"""Configurations of `DeepGNN`: ResGNN, RevGNN and their weight-tied forms (Li et al. 2021, arXiv:2106.07476)."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from revgnn.models.config.stack import GroupsConfig, WeightTyingConfig


class ResidualConfig(WeightTyingConfig):
    """ResGNN: a convolution, then residual layers; tied: WT-ResGNN."""

    family: Literal["residual"] = "residual"

    @property
    def groups(self) -> int:
        """1: the channels are not split."""
        return 1

    @model_validator(mode="after")
    def _check_depth(self) -> ResidualConfig:
        if self.depth < 2:
            raise ValueError(
                f"a residual model has a bare convolution and then its layers: depth must be 2 or more, got {self.depth}."
            )
        return self


class ReversibleConfig(WeightTyingConfig, GroupsConfig):
    """RevGNN: reversible layers; tied: WT-RevGNN."""

    family: Literal["reversible"] = "reversible"

    @model_validator(mode="after")
    def _check_groups(self) -> ReversibleConfig:
        if self.groups < 2:
            raise ValueError(f"a reversible model needs at least 2 groups, got groups={self.groups}.")
        if self.channels % self.groups:
            nearest = self.groups * max(1, round(self.channels / self.groups))
            raise ValueError(
                f"channels must be a multiple of groups, got channels={self.channels}, groups={self.groups}; "
                f"the nearest that fits is channels={nearest}."
            )
        return self
