"""What a convolution is called with, as its operators take it: a square `Graph`, and per-edge values in its order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from revgnn.graph import Graph, conversions
from revgnn.graph.remembered import graph_of

Adjacency = Any
"""A `Graph`, an `edge_index` (2, E), a PyG `EdgeIndex`, or a sparse matrix (N_dst, N_src) of torch, SciPy or torch_sparse."""


class Neighbours(NamedTuple):
    """The edges that a convolution works on.

    Kernels are square: between N_src sources and N_dst destinations the graph has max(N_src, N_dst) nodes.
    """

    graph: Graph
    num_dst: int
    """N_dst: results have this many rows."""
    given: Adjacency
    """What the convolution was called with."""

    def values(self, values: Tensor | None, name: str) -> Tensor | None:
        """Return per-edge values (E, ...) in the order of the graph; None for None.

        They were given in the order of the `edge_index`, or of the stored entries of a sparse matrix. With a `Graph` they must be
        in its order, and values that may not be cause an `EdgeOrderWarning`.

        Raises:
            TypeError: if they are not a tensor.
            ValueError: if there is not one row for each edge.
        """
        if values is None:
            return None
        if not isinstance(values, Tensor):
            raise TypeError(f"{name} must be a tensor with a row for each edge, got {type(values).__name__}.")
        graph = self.graph
        if values.dim() == 0 or values.shape[0] != graph.num_edges:
            wanted = f"({graph.num_edges}{',' if name == 'edge_weight' else ', K'})"
            raise ValueError(f"{name} must have shape {wanted}, one row for each edge, got {tuple(values.shape)}.")
        if self.given is graph:
            graph.warn_of_order(values, name)
            return values
        return graph.permute_edges(values)

    def entries(self) -> Tensor | None:
        """Return the values of a sparse matrix, (E,) or (E, K), in the order of the graph; None for other adjacencies."""
        if self.given is self.graph or not conversions.is_sparse(self.given):
            return None
        values = conversions.values_of_sparse(self.given)
        return None if values is None else self.graph.permute_edges(values)

    def weights(self, edge_weight: Tensor | None) -> Tensor | None:
        """Return edge weights (E,) in the order of the graph: those given, or else the entries of a sparse matrix.

        Raises:
            TypeError: if they are not a tensor.
            ValueError: if they are not one floating-point number for each edge.
        """
        weight = self.values(edge_weight, "edge_weight")
        if weight is None:
            weight = self.entries()
            if weight is None or weight.dim() > 1:
                return None
            return weight if weight.is_floating_point() else weight.to(torch.get_default_dtype())
        if weight.numel() != self.graph.num_edges or not weight.is_floating_point():
            raise ValueError(
                f"edge_weight must be one floating-point number for each edge, ({self.graph.num_edges},), "
                f"got {weight.dtype} of shape {tuple(weight.shape)}."
            )
        return weight.reshape(-1)


def neighbours(adjacency: Adjacency, num_nodes: int) -> Neighbours:
    """Return the edges among N nodes.

    Raises:
        TypeError: if `adjacency` is nothing that edges are read from.
        ValueError: if an index is out of range, or a size does not fit.
    """
    if isinstance(adjacency, Graph):
        return Neighbours(adjacency, num_nodes, adjacency)
    return Neighbours(graph_of(adjacency, num_nodes, num_nodes), num_nodes, adjacency)


def bipartite_neighbours(
    adjacency: Adjacency, x_src: Tensor, x_dst: Tensor | None, size: Sequence[int] | None, conv: str
) -> Neighbours:
    """Return the edges from N_src sources to N_dst destinations.

    N_dst is the number of rows of `x_dst`. Without it, it is what `size` or the adjacency says, and else N_src.

    Args:
        size: (N_src, N_dst) or None.
        conv: name of the convolution, for messages.

    Raises:
        TypeError: if `size` is not two integers, or `adjacency` is nothing that edges are read from.
        ValueError: if an index is out of range, or sizes do not agree.
    """
    num_src = x_src.shape[0]
    sizes = _checked_size(size, conv)
    if x_dst is not None:
        num_dst = x_dst.shape[0]
    elif sizes[1] is not None:
        num_dst = sizes[1]
    else:
        num_dst = _num_destinations(adjacency, num_src)
    if sizes[0] not in (None, num_src) or sizes[1] not in (None, num_dst):
        raise ValueError(f"size={size} does not fit x, which has {num_src} sources and {num_dst} destinations.")
    if not isinstance(adjacency, Graph):
        return Neighbours(graph_of(adjacency, num_src, num_dst), num_dst, adjacency)
    if num_src != num_dst or num_src != adjacency.num_nodes:
        raise ValueError(
            f"x must be the states of the {adjacency.num_nodes} nodes of the Graph, as sources and as destinations, got {num_src} "
            f"and {num_dst} rows; for other numbers pass the edge_index or a sparse matrix instead."
        )
    return Neighbours(adjacency, num_dst, adjacency)


def pair(x: Tensor | Sequence[Tensor | None], conv: str) -> tuple[Tensor, Tensor | None]:
    """Return the states of sources and destinations from one tensor for both, `(x_src, x_dst)`, or `(x_src, None)`.

    Raises:
        TypeError: if it is none of these.
        ValueError: if a tensor has not two dimensions.
    """
    x_src, x_dst = (x, x) if isinstance(x, Tensor) else _unpacked(x, conv)
    for states in (x_src, x_dst):
        if states is not None and states.dim() != 2:
            raise ValueError(f"{conv} takes states of shape (N, C), got {tuple(states.shape)}; call it for each graph of a batch.")
    return x_src, x_dst


def integer_scale(edges: Neighbours, edge_attr: Tensor) -> float:
    """Return the factor of edge features: 1 for floating point, and for int16 that are the graph's own `graph.edge_scale`.

    Raises:
        ValueError: for other integers, whose scale is not known.
    """
    if edge_attr.is_floating_point():
        return 1.0
    if isinstance(edges.given, Graph) and edge_attr is edges.given.edge_attr:
        return edges.given.edge_scale
    raise ValueError(
        f"edge features must be floating point, got {edge_attr.dtype}; integers are accepted only as graph.edge_attr, "
        "whose scale is known: pass that, or graph.edge_features()."
    )


def padded(x: Tensor, graph: Graph) -> Tensor:
    """Return states with a row for each node of the graph: with zeros for nodes that are destinations only, which is a copy."""
    missing = graph.num_nodes - x.shape[0]
    return x if missing == 0 else torch.cat([x, x.new_zeros(missing, *x.shape[1:])])


def first_rows(x: Tensor, count: int) -> Tensor:
    """Return the first rows of a tensor; itself if these are all, since the gradient of a slice is a copy."""
    return x if x.shape[0] == count else x[:count]


def _unpacked(x: Any, conv: str) -> tuple[Tensor, Tensor | None]:
    if isinstance(x, tuple | list) and len(x) == 2 and isinstance(x[0], Tensor) and (x[1] is None or isinstance(x[1], Tensor)):
        return x[0], x[1]
    raise TypeError(f"{conv} takes x as a tensor, (x_src, x_dst) or (x_src, None), got {type(x).__name__}.")


def _checked_size(size: Sequence[int] | None, conv: str) -> tuple[int | None, int | None]:
    if size is None:
        return None, None
    if isinstance(size, tuple | list) and len(size) == 2 and all(n is None or isinstance(n, int) for n in size):
        return size[0], size[1]
    got = f"a tensor of shape {tuple(size.shape)}" if isinstance(size, Tensor) else repr(size)
    raise TypeError(
        f"size must be two integers, (N_src, N_dst), got {got}; {conv} takes per-edge values by name, not in the place of size."
    )


def _num_destinations(adjacency: Adjacency, num_src: int) -> int:
    if conversions.is_sparse(adjacency):
        return conversions.shape_of(adjacency)[0]
    if not isinstance(adjacency, Graph) and isinstance(adjacency, Tensor):
        known = conversions.sparse_size(adjacency)[1]
        return num_src if known is None else known
    return num_src
