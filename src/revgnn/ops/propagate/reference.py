"""What `propagate` means, in plain torch: the definition that every kernel is judged by, and the path for devices without one.

It builds messages of E x H x C.
"""

from __future__ import annotations

from torch import Tensor

from revgnn.graph import Graph


def propagate(x: Tensor, graph: Graph, weight: Tensor | None = None, *, mean: bool = False) -> Tensor:
    """`x` (N, H, C) and `weight` (E, H) or None to (N, H, C)."""
    messages = x.index_select(0, graph.src.long())
    if weight is not None:
        messages = messages * weight.unsqueeze(2)
    out = x.new_zeros(x.shape).index_add(0, graph.dst.long(), messages)
    return out / graph.in_degree.clamp(min=1).to(x.dtype).view(-1, 1, 1) if mean else out
