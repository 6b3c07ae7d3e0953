"""The adjacency that every operator walks: one immutable `Graph`, its index, and how edge features are stored."""

from revgnn.graph.graph import Graph

__all__ = ["Graph"]
