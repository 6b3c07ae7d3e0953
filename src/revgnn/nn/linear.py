"""Linear maps whose input may get its width from the first call."""

from __future__ import annotations

from torch import Tensor, nn


class _LazyGlorot(nn.LazyLinear):
    """A linear map that draws Glorot uniform weights once it knows its width."""

    def reset_parameters(self) -> None:
        if not self.has_uninitialized_params() and self.in_features != 0:
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
