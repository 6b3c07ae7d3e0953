"""Linear maps whose input may get its width from the first call."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from revgnn.nn.fusion import has_hooks
from revgnn.ops import sparse_features


class _LazyGlorot(nn.LazyLinear):
    """A linear map that draws Glorot uniform weights once it knows its width."""

    def reset_parameters(self) -> None:
        if self.in_features != 0 and not isinstance(self.weight, nn.UninitializedParameter):
            nn.init.xavier_uniform_(self.weight)


def linear(in_channels: int, out_channels: int, *, bias: bool = True, glorot: bool = False) -> nn.Linear:
    """Return a linear map; with `in_channels=-1` it takes its width from its first input, and is a plain `nn.Linear` from then on.

    Args:
        glorot: a lazy map without bias draws Glorot uniform weights; otherwise torch's default.

    Raises:
        ValueError: if `in_channels` is neither positive nor -1, or `out_channels` not positive.
    """
    if out_channels < 1 or (in_channels < 1 and in_channels != -1):
        raise ValueError(
            f"widths must be 1 or more, or -1 for an input width to be found out, got in_channels={in_channels} and "
            f"out_channels={out_channels}."
        )
    if in_channels != -1:
        return nn.Linear(in_channels, out_channels, bias=bias)
    return (_LazyGlorot if glorot else nn.LazyLinear)(out_channels, bias=bias)


def reset_glorot(layer: nn.Linear) -> None:
    """Draw Glorot uniform weights; those of a lazy map follow with its first input."""
    if isinstance(layer, nn.LazyLinear):
        layer.reset_parameters()
    else:
        nn.init.xavier_uniform_(layer.weight)


def weight_for(layer: nn.Linear, x: Tensor) -> Tensor:
    """Return the weight of a map that is used without calling the module; a lazy map takes its width from `x`."""
    if isinstance(layer, nn.LazyLinear):
        layer(x[:1])
    return layer.weight


def mapped(layer: nn.Linear, x: Tensor) -> Tensor:
    """Return `layer(x)`, (N, C_out); of features that are mostly zeros, from the other entries alone."""
    if type(layer) is nn.Linear and not has_hooks(layer):
        entries = sparse_features.entries_of(x, layer.weight)
        if entries is not None:
            return sparse_features.linear(x, entries, layer.weight, layer.bias)
    return layer(x)


def both(x: Tensor, first: nn.Linear, second: nn.Linear) -> tuple[Tensor, Tensor]:
    """Return two maps of the same states, (N, C_1) and (N, C_2), from one pass over them, where that is worth it.

    Wide states are read from memory, which takes longer than the products with a few rows of weights. Lazy maps and those with
    hooks are called one by one.
    """
    if type(first) is not nn.Linear or type(second) is not nn.Linear or has_hooks(first, second):
        return first(x), second(x)
    if sparse_features.entries_of(x, first.weight) is not None:
        return mapped(first, x), mapped(second, x)
    product = nn.functional.linear(x, torch.cat([first.weight, second.weight]))
    results = product.split([first.out_features, second.out_features], dim=1)
    one, two = (h if layer.bias is None else h + layer.bias for h, layer in zip(results, (first, second), strict=True))
    return one, two
