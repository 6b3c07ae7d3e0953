"""The block: norm, activation, dropout, convolution."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from revgnn.nn.gen import GENConv
from revgnn.nn.norm import NormKind, make_norm, unobserved
from revgnn.ops.norm_relu import norm_relu


class PreActivation(nn.Module):
    r"""$\mathrm{Conv}(\mathrm{Dropout}(\mathrm{ReLU}(\mathrm{Norm}(x))), \dots)$ (Li et al. 2021, arXiv:2106.07476).

    Args:
        conv: any convolution, ours or PyTorch Geometric's, called with the activated state and what else the block is given.
        norm: "layer", "batch", "none", or a module.
        channels: width of the input; default `conv.in_channels`.
        dropout: rate of dropout drawn anew for this block; ignored in a call that brings a `mask`.
        activation: default ReLU.
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
            width = channels if channels is not None else getattr(conv, "in_channels", None)
            if not isinstance(width, int):
                raise ValueError(f"{type(conv).__name__} does not say how wide its input is; pass channels=, or a norm module.")
            norm = make_norm(norm, width)
        self.norm = norm
        self.activation = activation or nn.ReLU()
        self.dropout = dropout
        self.conv = conv

    def forward(self, x: Tensor, *args: Any, mask: Tensor | None = None, **kwargs: Any) -> Tensor:
        """(N, C) to (N, C_out).

        Args:
            x: (N, C).
            mask: (N, C), the factors of a dropout mask that all layers share (see `shared_dropout_mask`), or None.
            args, kwargs: passed on to the convolution: the graph, edge features.
        """
        norm, conv = self._plain_norm(x), self.conv
        if norm is not None and type(conv) is GENConv and (mask is not None or not self.dropout) and unobserved(conv):
            return conv.after_norm(x, norm, *args, mask=mask, **kwargs)
        if norm is not None:
            h = norm_relu(x, norm.weight, norm.bias, mask, eps=norm.eps)
        else:
            h = self.activation(self.norm(x))
            h = h if mask is None else h * mask
        if mask is None and self.dropout:
            h = torch.nn.functional.dropout(h, self.dropout, self.training)
        return conv(h, *args, **kwargs)

    def _plain_norm(self, x: Tensor) -> nn.LayerNorm | None:
        """The norm, where it is layer norm over the channels and ReLU follows, and nobody listens: then one pass does both."""
        norm = self.norm
        if type(norm) is not nn.LayerNorm or type(self.activation) is not nn.ReLU or not unobserved(norm, self.activation):
            return None
        fits = norm.weight is not None and norm.bias is not None and norm.weight.shape == x.shape[1:]
        return norm if fits and x.dtype == norm.weight.dtype and x.dtype in (torch.float32, torch.float64) else None

    def extra_repr(self) -> str:
        return f"dropout={self.dropout}"


def shared_dropout_mask(shape: tuple[int, ...], rate: float, device: torch.device | None = None) -> Tensor:
    r"""Factors 0 or $1 / (1 - \mathrm{rate})$, float32: one mask for all layers of a step (Li et al. 2021,
    arXiv:2106.07476).

    It costs N x D once, where a mask for each layer would have to be stored, or drawn again.
    """
    keep = 1.0 - rate
    return torch.empty(shape, device=device).bernoulli_(keep).div_(keep)
