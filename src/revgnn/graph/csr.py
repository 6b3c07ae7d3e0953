"""Compressed index arrays on the CPU: grouping, transposing and selecting, each in one or two passes over the edges.

All functions work on NumPy arrays. numba compiles them on first use and caches the result on disk. A *compressed* graph is
`indptr` (int64, N + 1) with `src` (int32 or int64, E): the edges into node `i` are the positions `indptr[i]` to `indptr[i + 1]`.
Inputs are not checked here: `revgnn.graph` checks them before it calls.
"""

from __future__ import annotations

import numpy as np

from revgnn.kernels.cpu.cache import cached_njit

IndexArray = np.ndarray
"""An int32 or int64 array."""


@cached_njit(nogil=True)
def group_by(keys: IndexArray, num_groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Sort positions by key with a stable counting sort.

    Returns `indptr` (int64, num_groups + 1) and `order` (int64), so that `keys[order]` ascends.
    """
    indptr = np.zeros(num_groups + 1, np.int64)
    for key in keys:
        indptr[key + 1] += 1
    for g in range(num_groups):
        indptr[g + 1] += indptr[g]
    cursor = indptr[:-1].copy()
    order = np.empty(keys.size, np.int64)
    for e in range(keys.size):
        key = keys[e]
        order[cursor[key]] = e
        cursor[key] += 1
    return indptr, order


@cached_njit(nogil=True)
def compress_with_reverse(
    src: IndexArray, dst: IndexArray, num_nodes: int, edge_ids: IndexArray | None = None
) -> tuple[np.ndarray, IndexArray]:
    """Compress each edge and its reverse by destination, in the order edge 0, its reverse, edge 1, its reverse, ...

    Returns `(indptr, sources)`, `sources` in the dtype of `src`. If `edge_ids` (2 E entries) is given, it receives for each
    position the number of the given edge that is stored there or whose reverse is.
    """
    indptr = np.zeros(num_nodes + 1, np.int64)
    for e in range(src.size):
        indptr[src[e] + 1] += 1
        indptr[dst[e] + 1] += 1
    for i in range(num_nodes):
        indptr[i + 1] += indptr[i]
    cursor = indptr[:-1].copy()
    sources = np.empty(2 * src.size, src.dtype)
    for e in range(src.size):
        a, b = src[e], dst[e]
        p = cursor[b]
        cursor[b] = p + 1
        q = cursor[a]
        cursor[a] = q + 1
        sources[p] = a
        sources[q] = b
        if edge_ids is not None:
            edge_ids[p] = e
            edge_ids[q] = e
    return indptr, sources


@cached_njit(nogil=True)
def transpose(indptr: np.ndarray, src: IndexArray) -> tuple[np.ndarray, IndexArray, IndexArray]:
    """Compress the same edges by source.

    Returns `(indptr_out, dst, edge)`: the edges out of node `j` are the positions `indptr_out[j]` to `indptr_out[j + 1]`;
    `dst` (dtype of `src`) ascends within a node; `edge` (dtype of `src`, in which E must fit) is each edge's position in
    destination order.
    """
    num_nodes = indptr.size - 1
    indptr_out = np.zeros(num_nodes + 1, np.int64)
    for j in src:
        indptr_out[j + 1] += 1
    for j in range(num_nodes):
        indptr_out[j + 1] += indptr_out[j]
    cursor = indptr_out[:-1].copy()
    dst = np.empty_like(src)
    edge = np.empty_like(src)
    for i in range(num_nodes):
        for e in range(indptr[i], indptr[i + 1]):
            p = cursor[src[e]]
            cursor[src[e]] = p + 1
            dst[p] = i
            edge[p] = e
    return indptr_out, dst, edge


@cached_njit(nogil=True)
def self_loops(indptr: np.ndarray, src: IndexArray, count: int) -> tuple[np.ndarray, IndexArray, np.ndarray, np.ndarray]:
    """Replace the self-loops of all nodes by one for each of the first `count` nodes, after its other edges.

    Returns `(indptr, src, origin, last)`: `origin` (int64) is each edge's position before, or E + i for the loop of node i; `last`
    (int64, count) is the position before of each node's last self-loop, or -1.
    """
    num_nodes = indptr.size - 1
    looped_indptr = np.zeros(num_nodes + 1, np.int64)
    for i in range(num_nodes):
        degree = 1 if i < count else 0
        for e in range(indptr[i], indptr[i + 1]):
            degree += src[e] != i
        looped_indptr[i + 1] = looped_indptr[i] + degree
    looped_src = np.empty(looped_indptr[-1], src.dtype)
    origin = np.empty(looped_indptr[-1], np.int64)
    last = np.full(count, -1, np.int64)
    for i in range(num_nodes):
        p = looped_indptr[i]
        for e in range(indptr[i], indptr[i + 1]):
            if src[e] != i:
                looped_src[p] = src[e]
                origin[p] = e
                p += 1
            elif i < count:
                last[i] = e
        if i < count:
            looped_src[p] = i
            origin[p] = src.size + i
    return looped_indptr, looped_src, origin, last


@cached_njit(nogil=True)
def first_out_of_range(index: IndexArray, num_nodes: int) -> int:
    """Return the position of the first entry outside `[0, num_nodes)`, or -1."""
    for e in range(index.size):
        if index[e] < 0 or index[e] >= num_nodes:
            return e
    return -1


@cached_njit(nogil=True)
def select_nodes(
    indptr: np.ndarray, src: IndexArray, nodes: np.ndarray, new_id: np.ndarray
) -> tuple[np.ndarray, IndexArray, np.ndarray]:
    """Return the sub-graph on `nodes` (int64, distinct), renumbered `0 .. len(nodes) - 1` in the given order.

    `new_id` (int64, N) is each node's new number or -1. Returns `(indptr, src, edge)`, where `edge` (int64) is each kept edge's
    position in the full graph. Edges keep their order within a destination.
    """
    kept_indptr = np.zeros(nodes.size + 1, np.int64)
    for i in range(nodes.size):
        count = 0
        for e in range(indptr[nodes[i]], indptr[nodes[i] + 1]):
            count += new_id[src[e]] >= 0
        kept_indptr[i + 1] = kept_indptr[i] + count
    kept_src = np.empty(kept_indptr[-1], src.dtype)
    edge = np.empty(kept_indptr[-1], np.int64)
    for i in range(nodes.size):
        p = kept_indptr[i]
        for e in range(indptr[nodes[i]], indptr[nodes[i] + 1]):
            j = new_id[src[e]]
            if j >= 0:
                kept_src[p] = j
                edge[p] = e
                p += 1
    return kept_indptr, kept_src, edge
