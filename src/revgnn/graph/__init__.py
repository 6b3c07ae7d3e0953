"""The graph that every operator works on: `Graph`, its index arrays, its checks, and the storage of edge features."""

from revgnn.graph.graph import EdgeOrderWarning, Graph

__all__ = ["EdgeOrderWarning", "Graph"]
