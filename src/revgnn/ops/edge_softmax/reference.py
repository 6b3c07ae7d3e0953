"""What `edge_softmax` means, in plain torch: the definition that the kernels are tested against, and the path for other devices."""

from __future__ import annotations

from torch import Tensor

from revgnn.graph import Graph


def edge_softmax(scores: Tensor, graph: Graph) -> Tensor:
    """Return the softmax of `scores` (E, H) over the edges into each node, (E, H)."""
    dst = graph.dst.long()
    index = dst.unsqueeze(1).expand_as(scores)
    zeros = scores.new_zeros(graph.num_nodes, scores.shape[1])
    peak = zeros.scatter_reduce(0, index, scores.detach(), "amax", include_self=False)
    # where all scores are minus infinity: exp(-inf - 0) = 0 rather than exp(-inf + inf)
    raised = (scores - peak.masked_fill(peak == float("-inf"), 0.0)[dst]).exp()
    mass = zeros.index_add(0, dst, raised)
    return raised / mass.masked_fill(mass == 0, 1.0).index_select(0, dst)
