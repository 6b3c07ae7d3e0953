"""Linear maps of edge features, kept as maps: what they give, E x C, is never built."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class EdgeEncoding(NamedTuple):
    r"""Edge features and the linear map that all layers share: $A W_0 + b_0$, which would be E x D."""

    attr: Tensor
    """$A$: (E, K), in the order of the graph; floating point, or int16 whose scale is in the weight."""
    weight: Tensor
    """$W_0$: (K, D)."""
    bias: Tensor
    """$b_0$: (D,)."""


class EdgeMap(NamedTuple):
    r"""Edge features and the linear map of one convolution: $A W + b$, added to the states that messages are made of."""

    attr: Tensor
    """$A$: (E, K), in the order of the graph."""
    weight: Tensor
    """$W$: (K, C)."""
    bias: Tensor
    """$b$: (C,)."""


def folded(encoding: EdgeEncoding, weight: Tensor, bias: Tensor) -> EdgeMap:
    r"""Return two linear maps of the edge features as one: $W = W_0 W_l$ (K, C), $b = b_0 W_l + b_l$ (C,).

    Args:
        encoding: $A$, $W_0$ and $b_0$.
        weight, bias: $W_l$ as (C, D), the way `torch.nn.Linear` has it, and $b_l$ (C,).
    """
    kind = encoding.weight.device.type
    if not torch.is_autocast_enabled(kind):
        return EdgeMap(encoding.attr, *_Folded.apply(encoding.weight, encoding.bias, weight, bias))
    with torch.autocast(kind, enabled=False):  # K x D products: no time to save, precision to lose
        return EdgeMap(encoding.attr, *_Folded.apply(encoding.weight, encoding.bias, weight, bias))


class _Folded(torch.autograd.Function):
    """The product of the maps. Weight and bias are computed in one product: the gradient of a tied layer is a sum over its uses,
    and two products a layer could be added up in two orders."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor, next_weight: Tensor, next_bias: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(weight, bias, next_weight)
        product = torch.cat([weight, bias.unsqueeze(0)]) @ next_weight.t()
        return product[:-1], product[-1] + next_bias

    @staticmethod
    def backward(ctx: Any, grad_weight: Tensor, grad_bias: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        weight, bias, next_weight = ctx.saved_tensors
        grad = torch.cat([grad_weight, grad_bias.unsqueeze(0)])
        before = grad @ next_weight
        return before[:-1], before[-1], grad.t() @ torch.cat([weight, bias.unsqueeze(0)]), grad_bias
