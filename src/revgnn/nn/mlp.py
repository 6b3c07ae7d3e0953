"""The MLP that follows an aggregation."""

from __future__ import annotations

import itertools
from typing import Literal

from torch import Tensor, nn

from revgnn.nn.fusion import perceptron_tensors
from revgnn.nn.norm import NormKind, make_norm
from revgnn.ops.dropout import draws_from_own
from revgnn.ops.perceptron import perceptron


@draws_from_own
class MLP(nn.Sequential):
    """Linear layers with a norm and ReLU between them.

    With one hidden layer and layer norm, the paper's, it runs in one pass that never builds the hidden layer.

    Args:
        channels: width of input and output.
        layers: number of linear layers.
        norm: of the hidden layers; "none" is an identity.
        expansion: width of the hidden layers, in multiples of `channels`.
        bias: whether the linear layers have one.
    """

    def __init__(
        self, channels: int, layers: int, norm: NormKind | Literal["instance"], *, expansion: int = 2, bias: bool = True
    ) -> None:
        widths = [channels, *[expansion * channels] * (layers - 1), channels]
        modules: list[nn.Module] = []
        for n, (wide, next_wide) in enumerate(itertools.pairwise(widths)):
            modules.append(nn.Linear(wide, next_wide, bias=bias))
            if n < layers - 1:
                modules += [nn.InstanceNorm1d(next_wide) if norm == "instance" else make_norm(norm, next_wide), nn.ReLU()]
        super().__init__(*modules)

    def reset_parameters(self) -> None:
        """Draw all learned parameters anew."""
        for module in self:
            if isinstance(module, nn.Linear | nn.LayerNorm | nn.BatchNorm1d | nn.InstanceNorm1d):
                module.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels) to (N, out_channels)."""
        tensors = perceptron_tensors(self, x)
        if tensors is None:
            return super().forward(x)
        *weights, eps = tensors
        return perceptron(x, *weights, eps=eps)
