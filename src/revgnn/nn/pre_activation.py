"""The pre-activation block around any convolution."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from revgnn.nn.norm import NormKind, make_norm, normalise_and_activate, width_of_input
from revgnn.ops.dropout import draws_from_own, dropout


@draws_from_own
class PreActivation(nn.Module):
    r"""$\mathrm{Conv}(\mathrm{Dropout}(\mathrm{ReLU}(\mathrm{Norm}(x))), \ldots)$ (Li et al. 2021, arXiv:2106.07476).

    `GENBlock` is this block around a `GENConv`, with a fast path.

    Args:
        conv: any convolution, ours or PyTorch Geometric's. It is called with the activated state and the block's other arguments.
        norm: "layer", "batch", "none", or a module.
        channels: width of the input; default `conv.in_channels`.
        dropout: rate of dropout drawn anew for this block; ignored in a call that brings a `mask`.
        activation: default ReLU.

    Raises:
        ValueError: if the width of the input is not known, or for an unknown norm.
    """

    def __init__(
        self,
        conv: nn.Module,
        norm: NormKind | nn.Module = "layer",
        *,
        channels: int | None = None,
        dropout: float = 0.0,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(norm, nn.Module):
            norm = make_norm(norm, width_of_input(conv) if channels is None else channels)
        self.norm = norm
        self.activation = activation or nn.ReLU()
        self.dropout = dropout
        self.conv = conv

    def forward(self, x: Tensor, *args: Any, mask: Tensor | None = None, **kwargs: Any) -> Tensor:
        """Map (N, C) to (N, C_out).

        Args:
            x: (N, C).
            mask: (N, C), the factors of a dropout mask that all layers share (see `shared_dropout_mask`), or None.
            args, kwargs: passed on to the convolution: the graph, edge features.
        """
        h = normalise_and_activate(self.norm, self.activation, x, mask)
        if mask is None and self.dropout:
            h = dropout(h, self.dropout, self.training)
        return self.conv(h, *args, **kwargs)

    def extra_repr(self) -> str:
        return f"dropout={self.dropout}"
