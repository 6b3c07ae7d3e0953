"""Normalisation by name, and when modules may be computed together."""

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


def unobserved(*modules: nn.Module) -> bool:
    """Whether no hook would notice that modules are not called one by one but computed together."""
    for m in modules:  # noqa: SIM110 (a generator costs as much again)
        if m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks:
            return False
    return True
