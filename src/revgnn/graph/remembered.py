"""Graphs of the `edge_index` tensors and sparse matrices that convolutions are called with: each is converted once.

A conversion checks every index and sorts the edges. Its result is kept for as long as the tensor lives, and used again if the same
tensor comes back unchanged. A change in place counts as another tensor, as far as torch counts changes: one through `.data`, or
through memory that NumPy or another tensor shares without being a view, is not seen.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch_geometric import EdgeIndex

from revgnn.graph import conversions, index, validation
from revgnn.graph.graph import Graph

LIMIT = 64
"""Number of conversions that are remembered; the oldest is forgotten first."""


class _Conversion(NamedTuple):
    tensor: weakref.ref[Tensor]
    state: tuple[Any, ...]
    graph: Graph


_conversions: dict[int, _Conversion] = {}
"""By the id of the tensor, which another tensor may have later."""


def graph_of(adjacency: Any, num_src: int, num_dst: int) -> Graph:
    """Return the graph on max(N_src, N_dst) nodes of an `edge_index` (2, E) or a sparse matrix (N_dst, N_src).

    `permute_edges` of the graph takes values in the order of the `edge_index`, or of the matrix' stored entries. Tensors are
    remembered. Matrices of SciPy and of torch_sparse are converted in each call: they do not count their changes.

    Raises:
        TypeError: for anything else.
        ValueError: if an index is out of range, or the shape of a matrix is not (N_dst, N_src).
    """
    if not isinstance(adjacency, Tensor):
        if not conversions.is_sparse(adjacency):
            raise TypeError(
                f"edge_index must be a revgnn.Graph, an edge_index of shape (2, E), a torch_geometric EdgeIndex, or a sparse "
                f"matrix of torch, SciPy or torch_sparse, got {type(adjacency).__name__}."
            )
        return _convert(adjacency, num_src, num_dst)
    if adjacency.is_inference():  # such tensors do not count their changes
        return _convert(adjacency, num_src, num_dst)
    state = _state(adjacency, num_src, num_dst)
    known = _conversions.get(id(adjacency))
    if known is not None and known.tensor() is adjacency and known.state == state:
        return known.graph
    graph = _convert(adjacency, num_src, num_dst)
    while len(_conversions) >= LIMIT:
        _conversions.pop(next(iter(_conversions)), None)
    _conversions[id(adjacency)] = _Conversion(weakref.ref(adjacency, _forget(id(adjacency))), state, graph)
    return graph


def _forget(key: int) -> Callable[[Any], None]:
    def forget(dead: Any) -> None:
        known = _conversions.get(key)
        if known is not None and known.tensor is dead:
            del _conversions[key]

    return forget


def _state(adjacency: Tensor, num_src: int, num_dst: int) -> tuple[Any, ...]:
    """Return what must be equal for a conversion to be used again."""
    if isinstance(adjacency, EdgeIndex):
        adjacency = adjacency.as_tensor()  # it counts the changes of the tensor that it wraps, the subclass does not
    where = adjacency.data_ptr() if adjacency.layout == torch.strided else 0
    return adjacency._version, where, adjacency.shape, num_src, num_dst


@index.outside_inference_mode
def _converted(adjacency: Any, num_src: int, num_dst: int) -> Graph:
    if conversions.is_sparse(adjacency):
        shape = conversions.shape_of(adjacency)
        if shape != (num_dst, num_src):
            raise ValueError(
                f"the sparse matrix has shape {shape}, but x says that it must be ({num_dst}, {num_src}), destinations by sources; "
                "transpose it, or pass x with a row for each node."
            )
        edge_index, _ = conversions.edges_of_sparse(adjacency)
    else:
        edge_index = adjacency
        if isinstance(edge_index, EdgeIndex):
            _check_sizes(edge_index, num_src, num_dst)
            edge_index = edge_index.as_tensor()
        validation.check_edge_index(edge_index, max(num_src, num_dst))
        if num_src != num_dst:
            validation.check_range(edge_index[0], num_src, "edge {} has source")
            validation.check_range(edge_index[1], num_dst, "edge {} has destination")
    graph = Graph.from_edge_index(edge_index, max(num_src, num_dst))
    if graph.is_in_order_of_edge_index:
        graph.edge_ids = None  # per-edge values need not be copied
    return graph


_convert: Any = torch.compiler.disable(_converted)
"""`_converted`, which a compiler cannot trace."""


def _check_sizes(edge_index: EdgeIndex, num_src: int, num_dst: int) -> None:
    known = conversions.sparse_size(edge_index)
    if known[0] not in (None, num_src) or known[1] not in (None, num_dst):
        raise ValueError(
            f"the EdgeIndex has sparse_size {known}, but x says that there are {num_src} sources and {num_dst} destinations; "
            "pass x with a row for each node."
        )
