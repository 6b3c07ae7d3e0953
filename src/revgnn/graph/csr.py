"""Compressed index arrays on the CPU: grouping, transposing, selecting and cutting, in one pass over the edges each.

Everything here works on plain NumPy arrays and is compiled by numba on first use (the result is cached on disk).
A *compressed* graph is `indptr` (int64, N + 1) with `src` (int32 or int64, E): the edges into node `i` are the
positions `indptr[i]` to `indptr[i + 1]`. Inputs are trusted: `revgnn.graph` validates before it calls.
"""

from __future__ import annotations

import numpy as np
from numba import njit

IndexArray = np.ndarray
"""An int32 or int64 array."""


@njit(cache=True, nogil=True)
def group_by(keys: IndexArray, num_groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Stable counting sort: `indptr` (int64, num_groups + 1) and `order` (int64), so that `keys[order]` ascends."""
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


@njit(cache=True, nogil=True)
def both_ways(src: IndexArray, dst: IndexArray, num_nodes: int, stored: IndexArray) -> tuple[np.ndarray, IndexArray]:
    """Each edge and its reverse, compressed by destination, in the order in which edge 0, its reverse, edge 1, ... arrive.

    Returns `(indptr, out)`, where `out` (dtype of `src`) holds the sources. Into `stored` (twice as many as there are edges) comes
    which of the given edges each is, or is the reverse of.
    """
    indptr = np.zeros(num_nodes + 1, np.int64)
    for e in range(src.size):
        indptr[src[e] + 1] += 1
        indptr[dst[e] + 1] += 1
    for i in range(num_nodes):
        indptr[i + 1] += indptr[i]
    cursor = indptr[:-1].copy()
    out = np.empty(2 * src.size, src.dtype)
    for e in range(src.size):
        a, b = src[e], dst[e]
        p = cursor[b]
        cursor[b] = p + 1
        out[p] = a
        stored[p] = e
        p = cursor[a]
        cursor[a] = p + 1
        out[p] = b
        stored[p] = e
    return indptr, out


@njit(cache=True, nogil=True)
def transpose(indptr: np.ndarray, src: IndexArray) -> tuple[np.ndarray, IndexArray, IndexArray]:
    """The same edges compressed by source.

    Returns `(indptr_out, dst, edge)`: the edges out of node `j` are the positions `indptr_out[j]` to `indptr_out[j + 1]`;
    `dst` (dtype of `src`) ascends within a node and `edge` is each edge's position in the destination order
    (dtype of `src`: the caller sees to it that E fits).
    """
    num_nodes = indptr.size - 1
    out = np.zeros(num_nodes + 1, np.int64)
    for j in src:
        out[j + 1] += 1
    for j in range(num_nodes):
        out[j + 1] += out[j]
    cursor = out[:-1].copy()
    dst = np.empty_like(src)
    edge = np.empty_like(src)
    for i in range(num_nodes):
        for e in range(indptr[i], indptr[i + 1]):
            p = cursor[src[e]]
            cursor[src[e]] = p + 1
            dst[p] = i
            edge[p] = e
    return out, dst, edge


@njit(cache=True, nogil=True)
def first_out_of_range(index: IndexArray, num_nodes: int) -> int:
    """Position of the first entry outside `[0, num_nodes)`, or -1."""
    for e in range(index.size):
        if index[e] < 0 or index[e] >= num_nodes:
            return e
    return -1


@njit(cache=True, nogil=True)
def select_nodes(
    indptr: np.ndarray, src: IndexArray, nodes: np.ndarray, new_id: np.ndarray
) -> tuple[np.ndarray, IndexArray, np.ndarray]:
    """The sub-graph on `nodes` (int64, distinct), relabelled to `0 .. len(nodes) - 1` in the given order.

    `new_id` (int64, N) is each node's new label or -1. Returns `(indptr, src, edge)` where `edge` (int64) is each kept edge's
    position in the full graph. Edges keep their order within a destination.
    """
    out = np.zeros(nodes.size + 1, np.int64)
    for i in range(nodes.size):
        count = 0
        for e in range(indptr[nodes[i]], indptr[nodes[i] + 1]):
            count += new_id[src[e]] >= 0
        out[i + 1] = out[i] + count
    kept = np.empty(out[-1], src.dtype)
    edge = np.empty(out[-1], np.int64)
    for i in range(nodes.size):
        p = out[i]
        for e in range(indptr[nodes[i]], indptr[nodes[i] + 1]):
            j = new_id[src[e]]
            if j >= 0:
                kept[p] = j
                edge[p] = e
                p += 1
    return out, kept, edge
