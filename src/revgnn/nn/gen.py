"""The convolution of DeeperGCN and of the paper."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from revgnn.graph import Graph
from revgnn.nn.base import AbstractConv
from revgnn.nn.norm import NormKind, make_norm, unobserved
from revgnn.ops.aggregate import Max, Mean, Power, Reducer, Softmax, Sum, aggregate
from revgnn.ops.gen_block import Edges, Norm, Perceptron, fits, gen_block
from revgnn.ops.norm_relu import norm_relu
from revgnn.ops.perceptron import perceptron


class EdgeEncoding(NamedTuple):
    r"""Edge features and the linear map that all layers share, kept apart: $A W_0 + b_0$ is never built (it would be E x D)."""

    attr: Tensor
    """$A$: (E, K), in the order of the graph; floating point, or int16 whose scale is in the weight."""
    weight: Tensor
    """$W_0$: (K, D)."""
    bias: Tensor
    """$b_0$: (D,)."""


class _Folded(torch.autograd.Function):
    r"""Two linear maps of the edge features as one: $W = W_0 W_l$ (K, C), $b = b_0 W_l + b_l$ (C,). $W_l$ comes as (C, D), as
    `torch.nn.Linear` has it.

    Weight and bias in one product: a tied layer's gradient is a sum over its uses, and two a layer could be added up in two orders.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, bias: Tensor, next_weight: Tensor, next_bias: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(weight, bias, next_weight)
        folded = torch.cat([weight, bias.unsqueeze(0)]) @ next_weight.t()
        return folded[:-1], folded[-1] + next_bias

    @staticmethod
    def backward(ctx: Any, grad_weight: Tensor, grad_bias: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        weight, bias, next_weight = ctx.saved_tensors
        grad = torch.cat([grad_weight, grad_bias.unsqueeze(0)])
        before = grad @ next_weight
        return before[:-1], before[-1], grad.t() @ torch.cat([weight, bias.unsqueeze(0)]), grad_bias


class GENConv(AbstractConv):
    r"""Generalised aggregation (Li et al. 2020, arXiv:2006.07739).

    $m_{ij} = \mathrm{relu}(x_j + e_{ij}) + \epsilon$

    $a_i = \mathrm{AGG}_j\, m_{ij}$; with message norm it is scaled to $s\, \lVert x_i \rVert\, a_i / \lVert a_i \rVert$

    $x_i' = \mathrm{MLP}(x_i + a_i)$

    where $e_{ij} = A_{ij} W + b$ is a linear map of the edge features. After an encoder that all layers share
    (`EdgeEncoding`), it is a map of a map, and is folded into one: $W = W_0 W_l$, $b = b_0 W_l + b_l$.

    Shapes: x (N, in_channels); edge features (E, K) or an `EdgeEncoding`; returns (N, out_channels). Features in 16 bits are
    taken too: `graph.edge_attr` as it is, whose `edge_scale` is heeded.
    Learned: the MLP; the edge map, if there are edge features; temperature or exponent, if `learn`; s, if `message_norm`.

    Args:
        in_channels, out_channels: widths.
        aggregation: "max", "mean", "sum", "softmax", "softmax-semigrad" or "power".
        initial: temperature of softmax, exponent of power.
        learn: learn it.
        edge_dim: width of the edge features (K), or of the shared encoding (D); None without edge features.
        norm: of the MLP's hidden layers.
        mlp_layers: linear layers in the MLP; hidden ones are twice as wide as the input.
        message_norm: see above; s starts at 1.
        eps: epsilon.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        aggregation: str = "max",
        initial: float = 1.0,
        learn: bool = False,
        edge_dim: int | None = None,
        norm: NormKind = "layer",
        mlp_layers: int = 2,
        message_norm: bool = False,
        eps: float = 1e-7,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.aggregation = aggregation
        self.initial = initial
        self.eps = eps
        self.edge = nn.Linear(edge_dim, in_channels) if edge_dim is not None else None
        widths = [in_channels, *[2 * in_channels] * (mlp_layers - 1), out_channels]
        layers: list[nn.Module] = []
        for n, (wide, next_wide) in enumerate(itertools.pairwise(widths)):
            layers.append(nn.Linear(wide, next_wide))
            if n < mlp_layers - 1:
                layers += [make_norm(norm, next_wide), nn.ReLU()]
        self.mlp = nn.Sequential(*layers)
        self.scale = nn.Parameter(torch.ones(())) if message_norm else None
        if learn and aggregation not in ("softmax", "power"):
            raise ValueError(f"only softmax and power have something to learn, got aggregation={aggregation!r} with learn=True.")
        self.learned = nn.Parameter(torch.tensor(float(initial))) if learn else None
        self._reducer()  # refuses an unknown name at once

    def reset_parameters(self) -> None:
        for module in (self.edge, *self.mlp):
            if isinstance(module, nn.Linear | nn.LayerNorm | nn.BatchNorm1d):
                module.reset_parameters()
        with torch.no_grad():
            if self.scale is not None:
                self.scale.fill_(1.0)
            if self.learned is not None:
                self.learned.fill_(self.initial)

    def forward(self, x: Tensor, graph: Graph, edge_attr: Tensor | EdgeEncoding | None = None) -> Tensor:
        attr, weight, bias = self._edge_map(graph, edge_attr)
        return self._convolve(x, graph, attr, weight, bias)

    def after_norm(
        self, x: Tensor, norm: nn.LayerNorm, graph: Graph, edge_attr: Tensor | EdgeEncoding | None = None, *, mask: Tensor | None
    ) -> Tensor:
        """`self(relu(norm(x)) * mask, graph, edge_attr)`, to the last bit, in one piece where it is the paper's block on a CPU.

        Args:
            x: (N, in_channels).
            norm: over the channels, with weight and bias.
            graph, edge_attr: as in `forward`.
            mask: (N, in_channels), or None.
        """
        attr, weight, bias = self._edge_map(graph, edge_attr)
        mlp = self._plain_mlp(x)
        if mlp is not None and self.scale is None and self.aggregation == "max":
            before = Norm(norm.weight, norm.bias, norm.eps)
            edges = Edges(attr, weight, bias) if attr is not None and weight is not None and bias is not None else None
            if fits(x, before, mask, graph, edges, mlp):
                return gen_block(x, before, mask, graph, edges, mlp, eps=self.eps)
        return self._convolve(norm_relu(x, norm.weight, norm.bias, mask, eps=norm.eps), graph, attr, weight, bias)

    def _convolve(self, x: Tensor, graph: Graph, attr: Tensor | None, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        m = aggregate(x, graph, attr, weight, bias, how=self._reducer(), eps=self.eps, residual=self.scale is None)
        if self.scale is not None:
            m = x + nn.functional.normalize(m, dim=1) * x.norm(dim=1, keepdim=True) * self.scale
        return self._mlp(m)

    def _mlp(self, x: Tensor) -> Tensor:
        """The MLP, in one pass where that is possible; under autocast layer by layer."""
        plain = self._plain_mlp(x)
        if plain is None:
            return self.mlp(x)
        norm = plain.norm
        return perceptron(x, *plain[:2], norm.weight, norm.bias, plain.weight_out, plain.bias_out, eps=norm.eps)

    def _plain_mlp(self, x: Tensor) -> Perceptron | None:
        """The MLP's tensors, where it is the paper's, nobody listens to its layers, and autocast is off."""
        match [*self.mlp]:
            case [nn.Linear() as first, nn.LayerNorm() as norm, nn.ReLU(), nn.Linear() as last] if (
                {type(first), type(last)} == {nn.Linear}
                and unobserved(self.mlp, *self.mlp)
                and x.dtype == first.weight.dtype
                and x.dtype in (torch.float32, torch.float64)
                and not torch.is_autocast_enabled(x.device.type)
            ):
                return Perceptron(first.weight, first.bias, Norm(norm.weight, norm.bias, norm.eps), last.weight, last.bias)
        return None

    def _edge_map(
        self, graph: Graph, edge_attr: Tensor | EdgeEncoding | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        if (edge_attr is None) != (self.edge is None):
            got = "none" if edge_attr is None else "some"
            raise ValueError(
                f"this GENConv was made with edge_dim={self.edge and self.edge.in_features} but got {got} edge features."
            )
        if edge_attr is None or self.edge is None:
            return None, None, None
        if isinstance(edge_attr, Tensor):
            return edge_attr, self._scaled_weight(graph, edge_attr), self.edge.bias
        maps, kind = (edge_attr.weight, edge_attr.bias, self.edge.weight, self.edge.bias), edge_attr.weight.device.type
        if not torch.is_autocast_enabled(kind):
            return edge_attr.attr, *_Folded.apply(*maps)
        with torch.autocast(kind, enabled=False):  # K x D: no time to win, digits to lose
            return edge_attr.attr, *_Folded.apply(*maps)

    def _scaled_weight(self, graph: Graph, edge_attr: Tensor) -> Tensor:
        assert self.edge is not None
        weight = self.edge.weight.t()
        if edge_attr.is_floating_point():
            return weight
        if edge_attr is not graph.edge_attr:
            raise ValueError(
                f"edge features must be floating point, got {edge_attr.dtype}; integers are taken only as graph.edge_attr, whose "
                "scale is known: pass that, or graph.edge_features()."
            )
        return weight * graph.edge_scale

    def _reducer(self) -> Reducer:
        value = self.initial if self.learned is None else self.learned
        match self.aggregation:
            case "max":
                return Max()
            case "mean":
                return Mean()
            case "sum":
                return Sum()
            case "softmax":
                return Softmax(value)
            case "softmax-semigrad":
                return Softmax(value, semi_gradient=True)
            case "power":
                return Power(value)
        raise ValueError(f"unknown aggregation {self.aggregation!r}; choose max, mean, sum, softmax, softmax-semigrad or power.")

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, aggregation={self.aggregation!r}"
