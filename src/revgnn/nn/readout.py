"""Readouts: the states of the nodes of each graph become one state of the graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn

READOUTS = ("sum", "mean", "max", "attention")


class Readout(nn.Module):
    """Sum, mean or maximum over the nodes of each graph, or their sum with weights that are learned.

    Attention (Li et al. 2016, arXiv:1511.05493, eq. 7): $\\sum_i \\mathrm{softmax}_i(w \\cdot h_i + b)\\, h_i$, a softmax over the
    nodes of a graph.

    Graphs are reduced one by one: the result of a graph does not depend on the others, bit for bit on a CPU. It is float32 under
    autocast too.

    Args:
        how: one of `READOUTS`.
        channels: D.

    Shapes: h (N, D), indptr int64 (B + 1); returns (B, D). Learned: the gate w, b of attention.
    """

    def __init__(self, how: str, channels: int) -> None:
        super().__init__()
        if how not in READOUTS:
            raise ValueError(f"a readout is one of {', '.join(READOUTS)}, got {how!r}.")
        self.how = how
        self.gate = nn.Linear(channels, 1) if how == "attention" else None

    def forward(self, h: Tensor, indptr: Tensor) -> Tensor:
        """Return the states of B graphs; those of graph b are rows `indptr[b]` to `indptr[b + 1]` of `h`. None is empty."""
        logits = None if self.gate is None else self.gate(h)
        with torch.autocast(h.device.type, enabled=False):
            h = h if h.dtype == torch.float64 else h.float()
            if logits is None:
                return torch.segment_reduce(h, self.how, offsets=indptr, axis=0)
            return _attention(h, logits.to(h.dtype), indptr)

    def extra_repr(self) -> str:
        return self.how


def _attention(h: Tensor, logits: Tensor, indptr: Tensor) -> Tensor:
    owner = torch.repeat_interleave(indptr.diff(), output_size=len(h))
    # The maximum only keeps exp in range; it has no gradient.
    highest = torch.segment_reduce(logits.detach(), "max", offsets=indptr, axis=0)
    weights = (logits - highest[owner]).exp()
    total = torch.segment_reduce(weights, "sum", offsets=indptr, axis=0)
    return torch.segment_reduce(weights * h, "sum", offsets=indptr, axis=0) / total
