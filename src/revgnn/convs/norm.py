"""Normalisation by name."""

from __future__ import annotations

from typing import Literal

from torch import nn

NormKind = Literal["layer", "batch", "none"]


def make_norm(kind: NormKind, channels: int) -> nn.Module:
    """A normalisation of (N, channels)."""
    match kind:
        case "layer":
            return nn.LayerNorm(channels)
        case "batch":
            return nn.BatchNorm1d(channels)
        case "none":
            return nn.Identity()
    raise ValueError(f"unknown norm {kind!r}; choose 'layer', 'batch' or 'none'.")
