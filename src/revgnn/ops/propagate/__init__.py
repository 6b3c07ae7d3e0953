"""Weighted sums and means over the edges into each node, fused."""

from revgnn.ops.propagate.api import propagate

__all__ = ["propagate"]
