"""Softmax over the edges into each node, fused."""

from revgnn.ops.edge_softmax.api import edge_softmax

__all__ = ["edge_softmax"]
