"""GraphSAGE's convolution."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from revgnn.graph import Graph
from revgnn.nn.base import AbstractConv
from revgnn.ops.aggregate.reducers import Mean, Sum
from revgnn.ops.dropout import draws_from_own
from revgnn.ops.propagate import propagate


@draws_from_own
class SAGEConv(AbstractConv):
    r"""GraphSAGE (Hamilton et al. 2017, arXiv:1706.02216, algorithm 1, lines 4 and 5).

    $x_i' = W_l \, \mathrm{AGG}_{j \to i}\, x_j + b + W_r x_i$

    The two maps together are the paper's one map of the concatenation of both. The paper's nonlinearity and its normalisation of
    $x_i'$ to length 1 are left to the block. `AGG` is the mean or the sum of the states; 0 for a node without incoming edges.

    Shapes: x (N, C_in); returns (N, C_out). Learned: `lin_l.weight`, `lin_r.weight` (C_out, C_in), `lin_l.bias` (C_out,).

    Args:
        how: `Mean()` or `Sum()`.
        root: whether the node's own state is used, $W_r$.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        how: Mean | Sum = Mean(),  # noqa: B008 (frozen)
        root: bool = True,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if not isinstance(how, Mean | Sum):
            raise ValueError(f"how must be Mean() or Sum(), got {how!r}.")
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.how = how
        self.lin_l = nn.Linear(in_channels, out_channels, bias=bias)
        self.lin_r = nn.Linear(in_channels, out_channels, bias=False) if root else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Torch's default for linear maps."""
        self.lin_l.reset_parameters()
        if self.lin_r is not None:
            self.lin_r.reset_parameters()

    def forward(self, x: Tensor, graph: Graph, *args: Any) -> Tensor:
        if self.out_channels < self.in_channels:
            # both are linear: move the narrower state along the edges
            h = propagate(nn.functional.linear(x, self.lin_l.weight), graph, how=self.how)
            h = h if self.lin_l.bias is None else h + self.lin_l.bias
        else:
            h = self.lin_l(propagate(x, graph, how=self.how))
        return h if self.lin_r is None else h + self.lin_r(x)
