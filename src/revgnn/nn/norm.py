"""Normalisation, and normalisation with ReLU and a mask in one pass."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from revgnn.nn.fusion import has_hooks, is_layer_norm_of
from revgnn.ops.norm_relu import norm_relu

NormKind = Literal["layer", "batch", "none"]


def make_norm(kind: NormKind, channels: int) -> nn.Module:
    """Return a normalisation of (N, channels).

    Raises:
        ValueError: for an unknown kind.
    """
    match kind:
        case "layer":
            return nn.LayerNorm(channels)
        case "batch":
            return nn.BatchNorm1d(channels)
        case "none":
            return nn.Identity()
    raise ValueError(f"unknown norm {kind!r}; choose 'layer', 'batch' or 'none'.")


def width_of_input(conv: nn.Module) -> int:
    """Return `conv.in_channels`.

    Raises:
        ValueError: if it is not one known width.
    """
    width = getattr(conv, "in_channels", None)
    if not isinstance(width, int) or width < 1:
        raise ValueError(f"{type(conv).__name__} does not say how wide its input is; pass channels=, or a norm module.")
    return width


def normalise_and_activate(norm: nn.Module, activation: nn.Module, x: Tensor, mask: Tensor | None) -> Tensor:
    """Return `activation(norm(x)) * mask`, in one pass over `x` where the two are layer norm and ReLU.

    Args:
        x: (N, C).
        mask: (N, C), or None.
    """
    if is_layer_norm_of(norm, x) and type(activation) is nn.ReLU and not has_hooks(norm, activation):
        return norm_relu(x, norm.weight, norm.bias, mask, eps=norm.eps)
    h = activation(norm(x))
    return h if mask is None else h * mask
