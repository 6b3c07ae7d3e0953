"""GraphSAGE's convolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from revgnn.graph import Graph
from revgnn.nn.base import AbstractConv, refuse_options
from revgnn.nn.fusion import has_hooks
from revgnn.nn.linear import linear, mapped
from revgnn.nn.neighbours import Adjacency, bipartite_neighbours, first_rows, padded, pair
from revgnn.ops import sage
from revgnn.ops.aggregate.reducers import Mean, Sum
from revgnn.ops.dropout import draws_from_own
from revgnn.ops.propagate import propagate

_REDUCERS = {"mean": Mean(), "sum": Sum(), "add": Sum()}


@draws_from_own
class SAGEConv(AbstractConv):
    r"""GraphSAGE (Hamilton et al. 2017, arXiv:1706.02216, algorithm 1, lines 4 and 5).

    $x_i' = W_l \, \mathrm{AGG}_{j \to i}\, w_{ij} x_j + b + W_r x_i$

    The two maps together are the paper's one map of the concatenation of both. The paper's nonlinearity is left to the block. `AGG`
    is the mean or the sum; 0 for a node without incoming edges. The mean divides by the number of edges, not by their weights. With
    `project`, $x_j$ is replaced by $\mathrm{relu}(W x_j + b)$ first; with `normalize`, $x_i'$ is divided by its length.

    Shapes: x (N, C_in), or sources and destinations, (N_src, C_src) and (N_dst, C_dst); edge weights (E,); returns (N_dst, C_out).
    If N_src < N_dst, the states of the sources are copied into N_dst rows.
    Learned: `lin_l.weight` (C_out, C_src), `lin_l.bias` (C_out,), `lin_r.weight` (C_out, C_dst), `lin.weight` and `lin.bias` of the
    projection.

    Args:
        in_channels: C_in, or (C_src, C_dst); -1 to take a width from the first input.
        out_channels: C_out.
        aggr: "mean", "sum" or "add".
        normalize: whether results have length 1.
        root_weight: whether the node's own state is used, $W_r$.
        project: whether sources go through a linear map and ReLU first.
        bias: whether there is a bias.
        options: PyTorch Geometric's further options, with their default values.

    Raises:
        ValueError: for another `aggr`, a projection of unknown width, or another value of a further option.
        TypeError: for an unknown option.
    """

    def __init__(
        self,
        in_channels: int | tuple[int, int],
        out_channels: int,
        aggr: str = "mean",
        normalize: bool = False,
        root_weight: bool = True,
        project: bool = False,
        bias: bool = True,
        **options: Any,
    ) -> None:
        super().__init__()
        refuse_options("SAGEConv", options)
        if not isinstance(aggr, str) or aggr not in _REDUCERS:
            raise ValueError(
                f"SAGEConv supports aggr='mean', 'sum' and 'add', got {aggr!r}; PreActivation also takes "
                "PyTorch Geometric's SAGEConv."
            )
        src_channels, dst_channels = (in_channels, in_channels) if isinstance(in_channels, int) else in_channels
        if project and src_channels == -1:
            raise ValueError("SAGEConv does not support lazy initialization with project=True; say how wide the sources are.")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.aggr = aggr
        self.normalize = normalize
        self.root_weight = root_weight
        self.project = project
        self.lin = linear(src_channels, src_channels) if project else None
        self.lin_l = linear(src_channels, out_channels, bias=bias)
        self.lin_r = linear(dst_channels, out_channels, bias=False) if root_weight else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Torch's default for linear maps."""
        for layer in (self.lin, self.lin_l, self.lin_r):
            if layer is not None:
                layer.reset_parameters()

    def output_parameters(self) -> list[Tensor]:
        return [*self.lin_l.parameters(), *([] if self.lin_r is None else self.lin_r.parameters())]

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        x: Tensor | Sequence[Tensor | None],
        edge_index: Adjacency,
        size: tuple[int, int] | None = None,
        *,
        edge_weight: Tensor | None = None,
    ) -> Tensor:
        """Map (N, C_in) to (N, C_out).

        Args:
            x: (N, C_in), or the pair of (N_src, C_src) and (N_dst, C_dst), or of (N_src, C_src) and None.
            edge_index: the edges, see `AbstractConv`. Entries of a sparse matrix are edge weights.
            size: (N_src, N_dst), needed for N_dst other than N_src without states of the destinations.
            edge_weight: (E,) or (E, 1), floating point; PyTorch Geometric's layer takes none.

        Raises:
            TypeError: for an argument of another type, such as edge weights in the place of `size`.
            ValueError: for sizes, edges or weights that do not fit.
        """
        x_src, x_dst = pair(x, "SAGEConv")
        edges = bipartite_neighbours(edge_index, x_src, x_dst, size, "SAGEConv")
        graph, weight, how = edges.graph, edges.weights(edge_weight), _REDUCERS[self.aggr]
        if self.lin is not None:
            x_src = self.lin(x_src).relu()
        maps = self._fused_maps(x_src, x_dst, graph, weight)
        if maps is not None:
            h = sage.sage(x_src, graph, maps, mean=self.aggr == "mean")
            return nn.functional.normalize(h, dim=-1) if self.normalize else h
        if self.out_channels < x_src.shape[1] and not isinstance(self.lin_l, nn.LazyLinear):
            # both are linear: move the narrower state along the edges
            h = propagate(padded(nn.functional.linear(x_src, self.lin_l.weight), graph), graph, weight, how=how)
            h = first_rows(h, edges.num_dst)
            h = h if self.lin_l.bias is None else h + self.lin_l.bias
        else:
            h = self.lin_l(first_rows(propagate(padded(x_src, graph), graph, weight, how=how), edges.num_dst))
        if self.lin_r is not None and x_dst is not None:
            h = h + mapped(self.lin_r, x_dst)
        return nn.functional.normalize(h, dim=-1) if self.normalize else h

    def _fused_maps(self, x_src: Tensor, x_dst: Tensor | None, graph: Graph, weight: Tensor | None) -> sage.Maps | None:
        """Return what the fast path is called with, or None if aggregation and maps must run one by one."""
        left, right = self.lin_l, self.lin_r
        if x_dst is not x_src or weight is not None or type(left) is not nn.Linear or type(right) is not nn.Linear:
            return None
        if has_hooks(left, right):
            return None
        maps = sage.Maps(left.weight, left.bias, right.weight)
        return maps if sage.fits(x_src, graph, maps) else None

    def __repr__(self) -> str:
        return f"SAGEConv({self.in_channels}, {self.out_channels}, aggr={self.aggr})"
