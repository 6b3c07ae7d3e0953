"""From a list of edges as files hold it to a `Graph`: both directions, doubled edges, self-loops, features made of edges."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from revgnn import csr
from revgnn.graph import Graph


def build_graph(
    edge_index: np.ndarray,
    num_nodes: int,
    edge_attr: np.ndarray | None = None,
    *,
    undirected: bool = False,
    add_inverse: bool = False,
    self_loops: bool | None = None,
) -> Graph:
    """A graph of N nodes from its stored edges.

    Args:
        edge_index: integer, (2, E), sources and destinations.
        num_nodes: N.
        edge_attr: floating point, (E, K), or None.
        undirected: add the reverse of every edge and keep each edge once; where several were stored their features are averaged.
        add_inverse: add the reverse of every edge and keep doubled ones, as OGB does for sets that store each pair once.
        self_loops: True gives every node exactly one, False drops them all, None leaves them as stored.

    Raises:
        ValueError: an index out of range or a feature that is not finite, naming the stored edge; new self-loops in a graph with
            edge features, which nothing defines for them.
    """
    if edge_index.ndim != 2 or edge_index.shape[0] != 2 or edge_index.dtype.kind not in "iu":
        raise ValueError(f"edges must be integers of shape (2, E), got {edge_index.dtype} of shape {edge_index.shape}.")
    _check_range(edge_index, num_nodes)
    src, dst = edge_index.astype(np.int32 if num_nodes < 2**31 else np.int64, copy=False)
    if edge_attr is not None:
        _check_features(edge_attr, edge_index)
        edge_attr = edge_attr.astype(np.float32, copy=False)
    if self_loops is not None:
        src, dst, edge_attr = _set_loops(src, dst, edge_attr, num_nodes, self_loops)
    if undirected:
        src, dst = np.concatenate([src, dst]), np.concatenate([dst, src])
        edge_attr = None if edge_attr is None else np.concatenate([edge_attr, edge_attr])
        return _in_order(*_coalesce(src, dst, edge_attr, num_nodes), num_nodes)
    if add_inverse:
        # Stored edge e becomes the edges 2 e and 2 e + 1; its features are gathered once, into place, never doubled first.
        return _in_order(_interleave(src, dst), _interleave(dst, src), edge_attr, num_nodes, copies=2)
    return _in_order(src, dst, edge_attr, num_nodes)


def sum_of_incoming(graph: Graph) -> Tensor:
    """float32, (N, K): each node's sum of the features of the edges into it, 0 without any; the paper's for ogbn-proteins."""
    assert graph.edge_attr is not None
    return torch.segment_reduce(graph.edge_attr, "sum", offsets=graph.indptr, axis=0, initial=0.0)


def features_of(graph: Graph) -> Tensor:
    """float32, (N, F): node features for a graph without: `sum_of_incoming`, or log(1 + in-degree) without edge features."""
    if graph.edge_attr is not None:
        return sum_of_incoming(graph)
    return graph.in_degree.to(torch.float32).log1p().unsqueeze(1)


def _interleave(even: np.ndarray, odd: np.ndarray) -> np.ndarray:
    return np.stack([even, odd], axis=1).ravel()


def _in_order(src: np.ndarray, dst: np.ndarray, edge_attr: np.ndarray | None, num_nodes: int, copies: int = 1) -> Graph:
    """In destination order; `copies` edges in a row share a row of `edge_attr`."""
    graph = Graph.from_edge_index(torch.from_numpy(np.stack([src, dst])), num_nodes)
    if edge_attr is None:
        features = None
    else:
        assert graph.edge_ids is not None
        features = torch.from_numpy(edge_attr)[graph.edge_ids // copies]
    # A loaded graph *is* its destination order: what order its file had concerns nobody, and takes 8 bytes an edge.
    return Graph(graph.indptr, graph.src, features, validate=False)


def _set_loops(
    src: np.ndarray, dst: np.ndarray, edge_attr: np.ndarray | None, num_nodes: int, wanted: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    keep = src != dst
    if wanted and edge_attr is not None:
        raise ValueError("self-loops would have no edge features: leave self_loops out for a graph with edge features.")
    src, dst = src[keep], dst[keep]
    if wanted:
        loops = np.arange(num_nodes, dtype=src.dtype)
        src, dst = np.concatenate([src, loops]), np.concatenate([dst, loops])
    return src, dst, None if edge_attr is None else edge_attr[keep]


def _coalesce(
    src: np.ndarray, dst: np.ndarray, edge_attr: np.ndarray | None, num_nodes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    key = dst.astype(np.int64) * num_nodes + src
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    first = order[starts]
    if edge_attr is not None:
        if len(starts) < len(order):
            sums = np.add.reduceat(edge_attr[order], starts, axis=0, dtype=np.float64)
            edge_attr = (sums / np.diff(starts, append=len(order))[:, None]).astype(np.float32)
        else:
            edge_attr = edge_attr[first]
    return src[first], dst[first], edge_attr


def _check_range(edge_index: np.ndarray, num_nodes: int) -> None:
    for row, what in zip(edge_index, ("source", "destination"), strict=True):
        if edge_index.dtype.kind == "u":
            row = row.astype(np.int64)
        bad = csr.first_out_of_range(np.ascontiguousarray(row), num_nodes)
        if bad >= 0:
            raise ValueError(f"edge {bad} has {what} {row[bad]}; with {num_nodes} nodes indices must lie in [0, {num_nodes}).")


def _check_features(edge_attr: np.ndarray, edge_index: np.ndarray) -> None:
    if edge_attr.ndim != 2 or edge_attr.shape[0] != edge_index.shape[1] or edge_attr.dtype.kind not in "fiub":
        raise ValueError(
            f"edge features must be numbers of shape ({edge_index.shape[1]}, K), one row an edge, "
            f"got {edge_attr.dtype} of shape {edge_attr.shape}."
        )
    # Not finite as a sum where an entry is not: a quick look without an (E, K) mask, then a second one if need be.
    if not np.isfinite(edge_attr.sum(dtype=np.float64)):
        bad = np.argwhere(~np.isfinite(edge_attr))
        if len(bad):
            edge, feature = bad[0]
            ends = " -> ".join(str(node) for node in edge_index[:, edge])
            raise ValueError(f"feature {feature} of edge {edge} ({ends}) is {edge_attr[edge, feature]}; it must be finite.")
