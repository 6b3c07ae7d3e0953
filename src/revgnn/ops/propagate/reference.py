"""What `propagate` means, in plain torch: the definition that the kernels are tested against, and the path for devices without one.

It builds messages of E x C, or E x H x C.
"""

from __future__ import annotations

from torch import Tensor

from revgnn.graph import Graph


def propagate(x: Tensor, graph: Graph, weight: Tensor | None = None, *, mean: bool = False) -> Tensor:
    """Return the sums, or means, of `x`, (N, C) or (N, H, C), weighted by `weight`, (E,) or (E, H), or by 1 if it is None."""
    messages = x.index_select(0, graph.src.long())
    if weight is not None:
        messages = messages * weight.unsqueeze(-1)
    out = x.new_zeros(x.shape).index_add(0, graph.dst.long(), messages)
    return out / graph.in_degree.clamp(min=1).to(x.dtype).view(-1, *[1] * (x.dim() - 1)) if mean else out
