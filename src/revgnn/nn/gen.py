"""The convolution of DeeperGCN and of the paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from revgnn.nn.base import AbstractConv, refuse_options
from revgnn.nn.linear import both, linear, mapped, weight_for
from revgnn.nn.mlp import MLP
from revgnn.nn.neighbours import Adjacency, Neighbours, bipartite_neighbours, first_rows, integer_scale, padded, pair
from revgnn.ops.aggregate import Max, Mean, Power, Reducer, Softmax, Sum, aggregate
from revgnn.ops.dropout import draws_from_own

SCALED_BY_DEGREE = ("softmax-sum", "softmax-sum-semigrad", "power-sum")
"""Aggregations whose result is multiplied by a power of the in-degree."""

LEARNS = ("softmax", "power", "softmax-sum", "power-sum")
"""Aggregations that can learn their temperature or exponent."""

_OTHER_NAMES = {"add": "sum", "softmax_sg": "softmax-semigrad", "powermean": "power"}
"""PyTorch Geometric's names of aggregations that have another name here."""

AGGREGATIONS = ("max", "mean", "sum", "softmax", "softmax-semigrad", "power", *SCALED_BY_DEGREE)

CLAMP = (1e-7, 10.0)
"""The limits of the authors' power mean."""

PYG_CLAMP = (1e-4, 100.0)
"""The limits of PyTorch Geometric's power mean."""


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
    bias: Tensor | None
    """$b$: (C,); None without bias."""


def folded(encoding: EdgeEncoding, weight: Tensor, bias: Tensor | None) -> EdgeMap:
    r"""Return two linear maps of the edge features as one: $W = W_0 W_l$ (K, C), $b = b_0 W_l + b_l$ (C,).

    Args:
        encoding: $A$, $W_0$ and $b_0$.
        weight, bias: $W_l$ as (C, D), the way `torch.nn.Linear` has it, and $b_l$ (C,), None for 0.
    """
    kind = encoding.weight.device.type
    bias = weight.new_zeros(weight.shape[0]) if bias is None else bias
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


@draws_from_own
class GENConv(AbstractConv):
    r"""Generalised aggregation (Li et al. 2020, arXiv:2006.07739).

    $m_{ij} = \mathrm{relu}(x_j + e_{ij}) + \epsilon$

    $a_i = \mathrm{AGG}_j\, m_{ij}$; "softmax-sum" and "power-sum" multiply it by $|N(i)|^{\sigma(y)}$, the in-degree to a power
    between 0 and 1; message norm then scales it to $s\, \lVert x_i \rVert\, a_i / \lVert a_i \rVert$

    $x_i' = \mathrm{MLP}(x_i + a_i)$

    where $e_{ij} = A_{ij} W + b$ is a linear map of the edge features. After an encoder that all layers share (`EdgeEncoding`) it
    is a map of a map, and the two are folded into one: $W = W_0 W_l$, $b = b_0 W_l + b_l$. Where C_in is not C_out, linear maps
    take the states of sources and destinations to C_out channels first, as in PyTorch Geometric; the norms in message norm are
    those before the map of the destinations.

    Shapes: x (N, C_in), or sources and destinations, (N_src, C_src) and (N_dst, C_dst); edge features (E, K) or an `EdgeEncoding`;
    returns (N_dst, C_out). If N_src < N_dst, the states of the sources are copied into N_dst rows. Edge features in 16 bits are
    accepted too, as `graph.edge_attr`, with the scale `graph.edge_scale`. Features without a map ($e_{ij} = A_{ij}$) cost C_out
    products a message and channel; a map of fewer features costs less.
    Learned: the MLP; the edge map `edge`; `lin_src` and `lin_dst`; temperature or exponent `learned`; y, `degree`; s, `scale`. A y
    or an s that is not learned is a buffer. A `state_dict` of PyTorch Geometric's layer is loaded too.

    Deviations from the authors' code: a softmax whose temperature is fixed passes gradients through its weights (there it does not:
    "softmax-semigrad", "softmax-sum-semigrad"); their power mean is `clamp_power=True`.

    Args:
        in_channels: C_in, or (C_src, C_dst); -1 to take a width from the first input.
        out_channels: C_out.
        aggr: "softmax", "softmax-semigrad" (or "softmax_sg"), "power" (or "powermean"), "max", "mean", "sum" (or "add"),
            "softmax-sum", "softmax-sum-semigrad" or "power-sum".
        t: temperature of softmax; not used by others.
        learn_t: learn it.
        p: exponent of the power mean; not used by others.
        learn_p: learn it.
        msg_norm: see above; s starts at 1.
        learn_msg_scale: learn s.
        norm: of the MLP's hidden layers, "batch", "layer", "instance", or "none" (or None).
        num_layers: linear layers in the MLP.
        expansion: width of its hidden layers, in multiples of C_out.
        eps: epsilon.
        bias: whether linear maps have a bias.
        edge_dim: width of the edge features (K), or of the shared encoding (D). They are mapped to C_out, unless they have that
            width: then they are added as they are. None: edge features of width C_out, or none at all; -1 to take the width from
            the first input.
        map_edges: map edge features of width C_out too.
        degree_init: y of "softmax-sum", "softmax-sum-semigrad" and "power-sum", or its initial value.
        learn_degree: learn it.
        clamp_power: whether the power mean clamps messages, and the mean of their powers: to [1e-7, 10] as the authors' code, not
            at all, or (None) to [1e-4, 100] as PyTorch Geometric, where a fixed exponent of 1 clamps nothing.
        options: PyTorch Geometric's further options, with their default values.

    Raises:
        ValueError: for an unknown aggregation or norm, an option that the aggregation does not have, or another value of a further
            option.
        TypeError: for an unknown option.
    """

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        aggr: str = "softmax",
        t: float = 1.0,
        learn_t: bool = False,
        p: float = 1.0,
        learn_p: bool = False,
        msg_norm: bool = False,
        learn_msg_scale: bool = False,
        norm: Literal["batch", "layer", "instance", "none"] | None = "batch",
        num_layers: int = 2,
        expansion: int = 2,
        eps: float = 1e-7,
        bias: bool = False,
        edge_dim: int | None = None,
        *,
        map_edges: bool = False,
        degree_init: float = 0.0,
        learn_degree: bool = False,
        clamp_power: bool | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        refuse_options("GENConv", options)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.aggr = aggr
        self.aggregation = _OTHER_NAMES.get(aggr, aggr) if isinstance(aggr, str) else aggr
        self._check(learn_t=learn_t, learn_p=learn_p, learn_degree=learn_degree, clamp_power=clamp_power, p=p)
        is_power = "power" in self.aggregation
        self.initial = p if is_power else t
        self.degree_init = degree_init
        self.clamp = _limits(clamp_power, p, learned=learn_p) if is_power else None
        self.eps = eps
        src_channels, dst_channels = (in_channels, in_channels) if isinstance(in_channels, int) else in_channels
        maps_edges = edge_dim is not None and (edge_dim != out_channels or map_edges)
        self.lin_src = linear(src_channels, out_channels, bias=bias) if src_channels != out_channels else None
        self.edge = linear(edge_dim, out_channels, bias=bias) if edge_dim is not None and maps_edges else None
        self.lin_dst = linear(dst_channels, out_channels, bias=bias) if dst_channels != out_channels else None
        self.mlp = MLP(out_channels, num_layers, norm or "none", expansion=expansion, bias=bias)
        self.scale = _scalar(self, "scale", 1.0, learned=learn_msg_scale) if msg_norm else None
        self.learned = nn.Parameter(torch.tensor(float(self.initial))) if learn_t or learn_p else None
        has_degree = self.aggregation in SCALED_BY_DEGREE
        self.degree = _scalar(self, "degree", degree_init, learned=learn_degree) if has_degree else None

    def _check(self, *, learn_t: bool, learn_p: bool, learn_degree: bool, clamp_power: bool | None, p: float) -> None:
        aggregation = self.aggregation
        if aggregation not in AGGREGATIONS:
            *others, last = AGGREGATIONS
            raise ValueError(f"unknown aggregation aggr={aggregation!r}; choose {', '.join(others)} or {last}.")
        for learn, name, family in ((learn_t, "learn_t", "softmax"), (learn_p, "learn_p", "power")):
            learning = [known for known in LEARNS if known.startswith(family)]
            if learn and aggregation not in learning:
                raise ValueError(f"only {' and '.join(learning)} have this to learn, got aggr={aggregation!r} with {name}=True.")
        if learn_degree and aggregation not in SCALED_BY_DEGREE:
            raise ValueError(
                f"only {', '.join(SCALED_BY_DEGREE)} have a power of the degree, got aggr={aggregation!r} with learn_degree=True."
            )
        if "power" in aggregation:
            Power(p)  # refuses an exponent of 0, learned or not
        elif clamp_power:
            raise ValueError(f"clamp_power clamps the power mean, got aggr={aggregation!r}; choose power or power-sum.")

    def reset_parameters(self) -> None:
        for layer in (self.lin_src, self.edge, self.lin_dst, self.mlp):
            if layer is not None:
                layer.reset_parameters()
        with torch.no_grad():
            if self.scale is not None:
                self.scale.fill_(1.0)
            if self.learned is not None:
                self.learned.fill_(self.initial)
            if self.degree is not None:
                self.degree.fill_(self.degree_init)

    def output_parameters(self) -> list[Tensor]:
        return list(self.mlp[-1].parameters())

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        x: Tensor | Sequence[Tensor | None],
        edge_index: Adjacency,
        edge_attr: Tensor | EdgeEncoding | EdgeMap | None = None,
        size: tuple[int, int] | None = None,
    ) -> Tensor:
        """Map (N, C_in) to (N, C_out).

        Args:
            x: (N, C_in), or the pair of (N_src, C_src) and (N_dst, C_dst), or of (N_src, C_src) and None.
            edge_index: the edges, see `AbstractConv`. Entries of a sparse matrix are edge features if they are vectors.
            edge_attr: (E, K), (E,) for K = 1, or an `EdgeEncoding`.
            size: (N_src, N_dst), needed for N_dst other than N_src without states of the destinations.

        Raises:
            TypeError: for an argument of another type.
            ValueError: for sizes, edges or features that do not fit.
        """
        x_src, x_dst = pair(x, "GENConv")
        edges = bipartite_neighbours(edge_index, x_src, x_dst, size, "GENConv")
        features = self.edge_map(edges, edge_attr)
        attr, weight, bias = (None, None, None) if features is None else features
        graph, num_dst = edges.graph, edges.num_dst
        is_plain = x_dst is x_src and self.lin_src is None and self.lin_dst is None and self.scale is None and self.degree is None
        own = x_dst
        if self.lin_src is not None and self.lin_dst is not None and x_dst is x_src:
            x_src, own = both(x_src, self.lin_src, self.lin_dst)
        else:
            x_src = x_src if self.lin_src is None else mapped(self.lin_src, x_src)
            own = own if self.lin_dst is None or own is None else mapped(self.lin_dst, own)
        m = aggregate(padded(x_src, graph), graph, attr, weight, bias, how=self._reducer(), eps=self.eps, residual=is_plain)
        if is_plain:
            return self.mlp(m)
        m = first_rows(m, num_dst)
        if self.degree is not None:
            degree = graph.in_degree[:num_dst].to(self.degree.dtype)
            m = m * degree.pow(self.degree.sigmoid()).to(m.dtype).unsqueeze(1)
        if self.scale is not None:
            scaled_to = x_src if x_dst is None else x_dst
            if scaled_to.shape[0] != num_dst:
                raise ValueError("msg_norm scales to the states of the destinations; pass (x_src, x_dst) instead of (x_src, None).")
            m = nn.functional.normalize(m, dim=1) * scaled_to.norm(dim=1, keepdim=True) * self.scale
        return self.mlp(m if own is None else m + own)

    def edge_map(self, edges: Neighbours, edge_attr: Tensor | EdgeEncoding | EdgeMap | None) -> EdgeMap | None:
        """Return the edge features with the linear map from them to the channels, or None without edge features.

        An `EdgeMap` is returned as it is: it comes from this method.

        Raises:
            TypeError: if the features are not a tensor or one of these tuples.
            ValueError: for features whose width does not fit, and for integers of unknown scale.
        """
        if isinstance(edge_attr, EdgeMap):
            return edge_attr
        if isinstance(edge_attr, EdgeEncoding):
            if self.edge is None:
                raise ValueError(
                    "an EdgeEncoding needs a map of its own in each GENConv; make it with edge_dim=D and map_edges=True."
                )
            return folded(edge_attr, self.edge.weight, self.edge.bias)
        attr = edges.values(edge_attr, "edge_attr")
        if attr is None:
            entries = edges.entries()
            if entries is None or entries.dim() == 1:
                return None
            attr = entries
        attr = attr.unsqueeze(1) if attr.dim() == 1 else attr
        scale = integer_scale(edges, attr)
        if self.edge is None:
            if attr.shape[1:] != (self.out_channels,):
                raise ValueError(
                    f"this GENConv has no map of edge features, so that they must have shape (E, {self.out_channels}), got "
                    f"{tuple(attr.shape)}; make it with edge_dim={attr.shape[-1]}."
                )
            weight, bias = torch.eye(self.out_channels, dtype=self._dtype(), device=attr.device), None
        else:
            weight, bias = weight_for(self.edge, attr).t(), self.edge.bias
            if attr.shape[1:] != weight.shape[:1]:
                given = attr if edge_attr is None else edge_attr
                raise ValueError(
                    f"edge_attr must have shape ({attr.shape[0]}, K) with K = {weight.shape[0]}, got {tuple(given.shape)}."
                )
        return EdgeMap(attr, weight if scale == 1.0 else weight * scale, bias)

    def _dtype(self) -> torch.dtype:
        return next(self.mlp.parameters()).dtype

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
        return Power(value) if self.clamp is None else Power(value, self.clamp, self.clamp)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Load the tensors; those of PyTorch Geometric's layer get our names first."""
        for theirs, ours in _names_of_pyg(self.mlp, state_dict, prefix).items():
            if prefix + theirs in state_dict:
                tensor = state_dict.pop(prefix + theirs)
                state_dict[prefix + ours] = tensor.reshape(()) if ours in ("learned", "scale") else tensor
        super()._load_from_state_dict(state_dict, prefix, *args)

    def names_in_pyg(self) -> dict[str, str]:
        """Return the names of this layer's tensors in PyTorch Geometric's GENConv, by ours.

        Raises:
            ValueError: if PyTorch Geometric's layer has no such tensor: the power of the degree.
        """
        if self.degree is not None:
            raise ValueError(f"aggr={self.aggr!r} has a power of the degree, which PyTorch Geometric's GENConv does not have.")
        # without a norm, a hidden layer of theirs has three parts as ours
        hidden = 0 if len(self.mlp) == 1 or isinstance(self.mlp[1], nn.Identity) else len(self.mlp) // 3
        learned = "aggr_module.p" if "power" in self.aggregation else "aggr_module.t"
        ours = {name: name for name in self.state_dict()}
        ours |= {name: theirs for theirs, name in _renamed(hidden).items() if name in ours}
        return ours | ({"learned": learned} if self.learned is not None else {})

    def __repr__(self) -> str:
        return f"GENConv({self.in_channels}, {self.out_channels}, aggr={self.aggr})"


def _names_of_pyg(mlp: MLP, state_dict: dict[str, Any], prefix: str) -> dict[str, str]:
    """Return our names of the tensors in a `state_dict` of PyTorch Geometric's GENConv, by theirs."""
    hidden = len(mlp) // 3
    is_theirs = f"{prefix}mlp.{4 * hidden}.weight" in state_dict
    return {"aggr_module.t": "learned", "aggr_module.p": "learned", **_renamed(hidden if is_theirs else 0)}


def _renamed(hidden: int) -> dict[str, str]:
    """Return our names of the tensors that have others in PyTorch Geometric's GENConv, by theirs, for an MLP of hidden layers.

    Between two linear layers they have norm, ReLU and dropout, where we have norm and ReLU, the norm an identity if there is none.
    """
    tensors = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    moved = [(4 * n + m, 3 * n + m) for n in range(1, hidden + 1) for m in range(2)]
    return {
        "msg_norm.scale": "scale",
        "lin_edge.weight": "edge.weight",
        "lin_edge.bias": "edge.bias",
        **{f"mlp.{theirs}.{tensor}": f"mlp.{ours}.{tensor}" for theirs, ours in moved for tensor in tensors},
    }


def _limits(clamp_power: bool | None, p: float, *, learned: bool) -> tuple[float, float] | None:
    """Return the limits of the power mean, or None if it clamps nothing."""
    if clamp_power is None:
        return None if p == 1 and not learned else PYG_CLAMP
    return CLAMP if clamp_power else None


def _scalar(module: nn.Module, name: str, value: float, *, learned: bool) -> Tensor:
    """Return a number of a module, shape (): a parameter if it is learned, else a buffer. Both are saved."""
    tensor = torch.tensor(float(value))
    if learned:
        return nn.Parameter(tensor)
    module.register_buffer(name, tensor)
    return module.get_buffer(name)
