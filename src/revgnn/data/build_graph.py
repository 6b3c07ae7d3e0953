"""Build a `Graph` from a stored list of edges: reverse edges, doubled edges, self-loops."""

from __future__ import annotations

import numpy as np
import torch

from revgnn.data.cut import take_rows
from revgnn.data.numbers import to_float32, to_native
from revgnn.graph import Graph, csr, edge_storage


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
    """Build a graph of N nodes from its stored edges.

    Args:
        edge_index: integer, (2, E), sources and destinations.
        num_nodes: N.
        edge_attr: numbers, (E, K), or None.
        undirected: add the reverse of every edge and keep each edge once. The features of doubled edges are averaged.
        add_inverse: add the reverse of every edge and keep doubled edges, as OGB does for sets that store each pair once.
        self_loops: True gives every node exactly one, False removes all, None leaves them as stored.
        edge_scale: `edge_attr` is int16, and the features are `edge_attr * edge_scale` (`Graph.edge_scale`). They stay int16 unless
            `undirected` averages them. None: `edge_attr` holds the features themselves, which become float32.

    Raises:
        ValueError: if an index is out of range, or a feature is not finite in float32 (names the stored edge), or if self-loops
            are added to a graph with edge features, because nothing defines the features of a loop.
    """
    if edge_index.ndim != 2 or edge_index.shape[0] != 2 or edge_index.dtype.kind not in "iu":
        raise ValueError(f"edges must be integers of shape (2, E), got {edge_index.dtype} of shape {edge_index.shape}.")
    edge_index = to_native(edge_index)
    _check_range(edge_index, num_nodes)
    index_dtype = np.int32 if num_nodes < 2**31 else np.int64
    src, dst = (np.ascontiguousarray(row, index_dtype) for row in edge_index)
    if edge_attr is not None:
        edge_attr = to_native(edge_attr)
        _check_features(edge_attr, edge_index)
        if edge_scale is not None and undirected:
            edge_attr, edge_scale = edge_storage.decode(torch.from_numpy(edge_attr), edge_scale, torch.float32).numpy(), None
        if edge_scale is None:
            edge_attr = to_float32(edge_attr, "edge_attr")
    if self_loops is not None:
        src, dst, edge_attr = _set_self_loops(src, dst, edge_attr, num_nodes, self_loops)
    if undirected:
        src, dst = np.concatenate([src, dst]), np.concatenate([dst, src])
        edge_attr = None if edge_attr is None else np.concatenate([edge_attr, edge_attr])
        src, dst, edge_attr = _merge_doubled_edges(src, dst, edge_attr, num_nodes)
    if add_inverse and not undirected:
        edge_ids = np.empty(2 * src.size, np.int32 if src.size < 2**31 else np.int64)
        indptr, sources = csr.compress_with_reverse(src, dst, num_nodes, edge_ids)
        structure = Graph(torch.from_numpy(indptr), torch.from_numpy(sources), validate=False)
    else:
        structure = Graph.from_edge_index(torch.from_numpy(np.stack([src, dst])), num_nodes)
        assert structure.edge_ids is not None
        # The order of the file is needed only for the features. The graph does not keep it: 8 bytes an edge.
        edge_ids, structure = structure.edge_ids.numpy(), Graph(structure.indptr, structure.src, validate=False)
    if edge_attr is None:
        return structure
    features = torch.from_numpy(take_rows(edge_attr, edge_ids, torch.get_num_threads()))
    return Graph(structure.indptr, structure.src, features, edge_scale=edge_scale or 1.0, validate=False)


def _set_self_loops(
    src: np.ndarray, dst: np.ndarray, edge_attr: np.ndarray | None, num_nodes: int, add: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Remove all self-loops and, if `add`, append one for each node."""
    keep = src != dst
    if add and edge_attr is not None:
        raise ValueError("self-loops would have no edge features: leave self_loops out for a graph with edge features.")
    src, dst = src[keep], dst[keep]
    if add:
        loops = np.arange(num_nodes, dtype=src.dtype)
        src, dst = np.concatenate([src, loops]), np.concatenate([dst, loops])
    return src, dst, None if edge_attr is None else edge_attr[keep]


def _merge_doubled_edges(
    src: np.ndarray, dst: np.ndarray, edge_attr: np.ndarray | None, num_nodes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Keep each edge once, with the mean of its features."""
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
    for row, end in zip(edge_index, ("source", "destination"), strict=True):
        if edge_index.dtype == np.uint64:
            row = np.minimum(row, np.uint64(np.iinfo(np.int64).max))  # does not wrap around to a negative number
        if edge_index.dtype.kind == "u":
            row = row.astype(np.int64)
        bad = csr.first_out_of_range(np.ascontiguousarray(row), num_nodes)
        if bad >= 0:
            raise ValueError(f"edge {bad} has {end} {row[bad]}; with {num_nodes} nodes indices must lie in [0, {num_nodes}).")


def _check_features(edge_attr: np.ndarray, edge_index: np.ndarray) -> None:
    if edge_attr.ndim != 2 or edge_attr.shape[0] != edge_index.shape[1] or edge_attr.dtype.kind not in "fiub":
        raise ValueError(
            f"edge features must be numbers of shape ({edge_index.shape[1]}, K), one row for each edge, "
            f"got {edge_attr.dtype} of shape {edge_attr.shape}."
        )
    # The sum is not finite if an entry is not, and needs no (E, K) mask. Finite entries may overflow it: then check each.
    if not np.isfinite(edge_attr.sum(dtype=np.float64)):
        bad = np.argwhere(~np.isfinite(edge_attr))
        if len(bad):
            edge, feature = bad[0]
            ends = " -> ".join(str(node) for node in edge_index[:, edge])
            raise ValueError(f"feature {feature} of edge {edge} ({ends}) is {edge_attr[edge, feature]}; it must be finite.")
