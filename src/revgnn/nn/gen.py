"""The convolution of DeeperGCN and of the paper."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from revgnn.graph import Graph
from revgnn.nn.base import AbstractConv
from revgnn.nn.mlp import MLP
from revgnn.nn.norm import NormKind
from revgnn.ops.aggregate import Max, Mean, Power, Reducer, Softmax, Sum, aggregate

SCALED_BY_DEGREE = ("softmax-sum", "softmax-sum-semigrad", "power-sum")
"""Aggregations whose result is multiplied by a power of the in-degree."""

LEARNS = ("softmax", "power", "softmax-sum", "power-sum")
"""Aggregations that can learn their temperature or exponent."""

AGGREGATIONS = ("max", "mean", "sum", "softmax", "softmax-semigrad", "power", *SCALED_BY_DEGREE)

CLAMP = (1e-7, 10.0)
"""The limits of the authors' power mean."""


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


class GENConv(AbstractConv):
    r"""Generalised aggregation (Li et al. 2020, arXiv:2006.07739).

    $m_{ij} = \mathrm{relu}(x_j + e_{ij}) + \epsilon$

    $a_i = \mathrm{AGG}_j\, m_{ij}$; "softmax-sum" and "power-sum" multiply it by $|N(i)|^{\sigma(y)}$, the in-degree to a power
    between 0 and 1; message norm then scales it to $s\, \lVert x_i \rVert\, a_i / \lVert a_i \rVert$

    $x_i' = \mathrm{MLP}(x_i + a_i)$

    where $e_{ij} = A_{ij} W + b$ is a linear map of the edge features. After an encoder that all layers share (`EdgeEncoding`) it
    is a map of a map, and the two are folded into one: $W = W_0 W_l$, $b = b_0 W_l + b_l$.

    Shapes: x (N, in_channels); edge features (E, K) or an `EdgeEncoding`; returns (N, out_channels). Edge features in 16 bits are
    accepted too, as `graph.edge_attr`, with the scale `graph.edge_scale`.
    Learned: the MLP; the edge map, if there are edge features; temperature or exponent, if `learn`; y, if `learn_degree`; s, if
    `message_norm` and `learn_scale`. A y or an s that is not learned is a buffer.

    Deviations from the authors' code: s is learned unless `learn_scale` is off (there it is fixed unless asked for); the power mean
    clamps nothing unless `clamp_power` is on (there it always does); a softmax whose temperature is fixed passes gradients through
    its weights (there it does not: "softmax-semigrad", "softmax-sum-semigrad").

    Args:
        in_channels, out_channels: widths.
        aggregation: "max", "mean", "sum", "softmax", "softmax-semigrad", "power", "softmax-sum", "softmax-sum-semigrad" or
            "power-sum".
        initial: temperature of softmax, exponent of power.
        learn: learn it.
        degree_init: y of "softmax-sum", "softmax-sum-semigrad" and "power-sum", or its initial value.
        learn_degree: learn it.
        clamp_power: clamp messages, and the mean of their powers, to [1e-7, 10] ("power", "power-sum").
        edge_dim: width of the edge features (K), or of the shared encoding (D); None without edge features.
        norm: of the MLP's hidden layers.
        mlp_layers: linear layers in the MLP; hidden ones are twice as wide as the input.
        message_norm: see above; s starts at 1.
        learn_scale: learn s.
        eps: epsilon.

    Raises:
        ValueError: for an unknown aggregation, or for an option that it does not have.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        aggregation: str = "max",
        initial: float = 1.0,
        learn: bool = False,
        degree_init: float = 0.0,
        learn_degree: bool = False,
        clamp_power: bool = False,
        edge_dim: int | None = None,
        norm: NormKind = "layer",
        mlp_layers: int = 2,
        message_norm: bool = False,
        learn_scale: bool = True,
        eps: float = 1e-7,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.aggregation = aggregation
        self.initial = initial
        self.degree_init = degree_init
        self.clamp_power = clamp_power
        self.eps = eps
        self.edge = nn.Linear(edge_dim, in_channels) if edge_dim is not None else None
        self.mlp = MLP(in_channels, out_channels, mlp_layers, norm)
        self._check(learn=learn, learn_degree=learn_degree)
        self.scale = _scalar(self, "scale", 1.0, learned=learn_scale) if message_norm else None
        self.learned = nn.Parameter(torch.tensor(float(initial))) if learn else None
        self.degree = _scalar(self, "degree", degree_init, learned=learn_degree) if aggregation in SCALED_BY_DEGREE else None

    def _check(self, *, learn: bool, learn_degree: bool) -> None:
        aggregation = self.aggregation
        if aggregation not in AGGREGATIONS:
            *others, last = AGGREGATIONS
            raise ValueError(f"unknown aggregation {aggregation!r}; choose {', '.join(others)} or {last}.")
        if learn and aggregation not in LEARNS:
            raise ValueError(f"only {', '.join(LEARNS)} have something to learn, got aggregation={aggregation!r} with learn=True.")
        if learn_degree and aggregation not in SCALED_BY_DEGREE:
            raise ValueError(
                f"only {', '.join(SCALED_BY_DEGREE)} have a power of the degree, got aggregation={aggregation!r} with "
                "learn_degree=True."
            )
        if "power" in aggregation:
            Power(self.initial)  # refuses an exponent of 0, learned or not
        elif self.clamp_power:
            raise ValueError(f"clamp_power clamps the power mean, got aggregation={aggregation!r}; choose power or power-sum.")

    def reset_parameters(self) -> None:
        if self.edge is not None:
            self.edge.reset_parameters()
        self.mlp.reset_parameters()
        with torch.no_grad():
            if self.scale is not None:
                self.scale.fill_(1.0)
            if self.learned is not None:
                self.learned.fill_(self.initial)
            if self.degree is not None:
                self.degree.fill_(self.degree_init)

    def forward(self, x: Tensor, graph: Graph, edge_attr: Tensor | EdgeEncoding | EdgeMap | None = None) -> Tensor:
        edges = self.edge_map(graph, edge_attr)
        attr, weight, bias = (None, None, None) if edges is None else edges
        is_plain = self.scale is None and self.degree is None
        m = aggregate(x, graph, attr, weight, bias, how=self._reducer(), eps=self.eps, residual=is_plain)
        if self.degree is not None:
            m = m * graph.in_degree.to(self.degree.dtype).pow(self.degree.sigmoid()).to(m.dtype).unsqueeze(1)
        if self.scale is not None:
            m = nn.functional.normalize(m, dim=1) * x.norm(dim=1, keepdim=True) * self.scale
        return self.mlp(m if is_plain else x + m)

    def edge_map(self, graph: Graph, edge_attr: Tensor | EdgeEncoding | EdgeMap | None) -> EdgeMap | None:
        """Return the edge features with the linear map from them to the channels, or None without edge features.

        An `EdgeMap` is returned as it is: it comes from this method.

        Raises:
            ValueError: if the convolution was made for edge features and got none, or the reverse; for integers of unknown scale.
        """
        if (edge_attr is None) != (self.edge is None):
            got = "none" if edge_attr is None else "some"
            raise ValueError(
                f"this GENConv was made with edge_dim={self.edge and self.edge.in_features} but got {got} edge features."
            )
        if edge_attr is None or self.edge is None:
            return None
        if isinstance(edge_attr, EdgeMap):
            return edge_attr
        if isinstance(edge_attr, Tensor):
            return EdgeMap(edge_attr, self._scaled_weight(graph, edge_attr), self.edge.bias)
        return folded(edge_attr, self.edge.weight, self.edge.bias)

    def _scaled_weight(self, graph: Graph, edge_attr: Tensor) -> Tensor:
        assert self.edge is not None
        weight = self.edge.weight.t()
        if edge_attr.is_floating_point():
            return weight
        if edge_attr is not graph.edge_attr:
            raise ValueError(
                f"edge features must be floating point, got {edge_attr.dtype}; integers are accepted only as graph.edge_attr, "
                "whose scale is known: pass that, or graph.edge_features()."
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
            case "softmax" | "softmax-sum":
                return Softmax(value)
            case "softmax-semigrad" | "softmax-sum-semigrad":
                return Softmax(value, semi_gradient=True)
        return Power(value, CLAMP, CLAMP) if self.clamp_power else Power(value)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, aggregation={self.aggregation!r}"


def _scalar(module: nn.Module, name: str, value: float, *, learned: bool) -> Tensor:
    """Return a number of a module, shape (): a parameter if it is learned, else a buffer. Both are saved."""
    tensor = torch.tensor(float(value))
    if learned:
        return nn.Parameter(tensor)
    module.register_buffer(name, tensor)
    return module.get_buffer(name)
