"""The graph convolution of Kipf and Welling."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from revgnn.graph import Graph
from revgnn.nn.base import AbstractConv
from revgnn.ops.dropout import draws_from_own
from revgnn.ops.propagate import propagate


@draws_from_own
class GCNConv(AbstractConv):
    r"""Graph convolution (Kipf and Welling 2017, arXiv:1609.02907).

    $X' = D^{-1/2} A D^{-1/2} X W + b$

    $A$ is the adjacency of the graph as it is and $D$ its in-degrees. The paper adds self-loops first ($\tilde A = A + I$): pass
    `graph.with_self_loops()` for that. A node without incoming edges gets $b$, and counts as 0 in the sums of others.

    Shapes: x (N, C_in); returns (N, C_out). Learned: `lin.weight` (C_out, C_in), `bias` (C_out,).
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.lin = nn.Linear(in_channels, out_channels, bias=False)
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Glorot uniform weight (as the paper), zero bias."""
        nn.init.xavier_uniform_(self.lin.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, graph: Graph, *args: Any) -> Tensor:
        h = self.lin(x)
        degree = graph.in_degree.unsqueeze(1).to(torch.promote_types(h.dtype, torch.float32))
        scale = torch.where(degree > 0, degree.rsqrt(), 0.0).to(h.dtype)
        h = scale * propagate(scale * h, graph)
        return h if self.bias is None else h + self.bias
