"""From a list of edges as files hold it to a `Graph`: both directions, doubled edges, self-loops, features made of edges."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from revgnn.data.cut import take_rows
from revgnn.graph import Graph, csr, edge_storage

_EDGES_AT_A_TIME = 1 << 20


def build_graph(
    edge_index: np.ndarray,
    num_nodes: int,
    edge_attr: np.ndarray | None = None,
    *,
    undirected: bool = False,
    add_inverse: bool = False,
    self_loops: bool | None = None,
    edge_scale: float | None = None,
) -> Graph:
    """A graph of N nodes from its stored edges.

    Args:
        edge_index: integer, (2, E), sources and destinations.
        num_nodes: N.
        edge_attr: floating point, (E, K), or None.
        undirected: add the reverse of every edge and keep each edge once; where several were stored their features are averaged.
        add_inverse: add the reverse of every edge and keep doubled ones, as OGB does for sets that store each pair once.
        self_loops: True gives every node exactly one, False drops them all, None leaves them as stored.
        edge_scale: `edge_attr` is int16 and stays so, the features being its multiples (`Graph.edge_scale`), unless some must be
            averaged. None: `edge_attr` holds the features themselves, which become float32.

    Raises:
        ValueError: an index out of range or a feature that is not finite, naming the stored edge; new self-loops in a graph with
            edge features, which nothing defines for them.
    """
    if edge_index.ndim != 2 or edge_index.shape[0] != 2 or edge_index.dtype.kind not in "iu":
        raise ValueError(f"edges must be integers of shape (2, E), got {edge_index.dtype} of shape {edge_index.shape}.")
    _check_range(edge_index, num_nodes)
    index = np.int32 if num_nodes < 2**31 else np.int64
    src, dst = (np.ascontiguousarray(row, index) for row in edge_index)
    if edge_attr is not None:
        _check_features(edge_attr, edge_index)
        if edge_scale is not None and undirected:
            edge_attr, edge_scale = edge_storage.decode(torch.from_numpy(edge_attr), edge_scale, torch.float32).numpy(), None
        if edge_scale is None:
            edge_attr = edge_attr.astype(np.float32, copy=False)
    if self_loops is not None:
        src, dst, edge_attr = _set_loops(src, dst, edge_attr, num_nodes, self_loops)
    if undirected:
        src, dst = np.concatenate([src, dst]), np.concatenate([dst, src])
        edge_attr = None if edge_attr is None else np.concatenate([edge_attr, edge_attr])
        src, dst, edge_attr = _coalesce(src, dst, edge_attr, num_nodes)
    if add_inverse and not undirected:
        stored = np.empty(2 * src.size, np.int32 if src.size < 2**31 else np.int64)
        indptr, sources = csr.both_ways(src, dst, num_nodes, stored)
        structure = Graph(torch.from_numpy(indptr), torch.from_numpy(sources), validate=False)
    else:
        structure = Graph.from_edge_index(torch.from_numpy(np.stack([src, dst])), num_nodes)
        assert structure.edge_ids is not None
        # A loaded graph *is* its destination order: what order its file had concerns nobody, and takes 8 bytes an edge.
        stored, structure = structure.edge_ids.numpy(), Graph(structure.indptr, structure.src, validate=False)
    if edge_attr is None:
        return structure
    features = torch.from_numpy(take_rows(edge_attr, stored, torch.get_num_threads()))
    return Graph(structure.indptr, structure.src, features, edge_scale=edge_scale or 1.0, validate=False)


def sum_of_incoming(graph: Graph) -> Tensor:
    """float32, (N, K): each node's sum of the features of the edges into it, 0 without any; the paper's for ogbn-proteins.

    Features in 16 bits are decoded a run of nodes at a time.
    """
    assert graph.edge_attr is not None
    out = torch.zeros(graph.num_nodes, graph.num_edge_features)
    starts = torch.searchsorted(graph.indptr, torch.arange(0, graph.num_edges, _EDGES_AT_A_TIME)).tolist()
    for start, stop in itertools.pairwise([*starts, graph.num_nodes]):
        if start < stop:
            offsets = graph.indptr[start : stop + 1]
            rows = graph.edge_attr[offsets[0] : offsets[-1]]
            features = edge_storage.decode(rows, graph.edge_scale, torch.float32)
            out[start:stop] = torch.segment_reduce(features, "sum", offsets=offsets - offsets[0], axis=0, initial=0.0)
    return out


def features_of(graph: Graph) -> Tensor:
    """float32, (N, F): node features for a graph without: `sum_of_incoming`, or log(1 + in-degree) without edge features."""
    if graph.edge_attr is not None:
        return sum_of_incoming(graph)
    return graph.in_degree.to(torch.float32).log1p().unsqueeze(1)


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
