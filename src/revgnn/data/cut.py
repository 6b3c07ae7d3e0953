"""Cutting a compressed graph into parts: two walks over its edges for all parts together, in plain threads.

Works on NumPy arrays, compiled by numba on first use (the result is cached on disk). The kernels release the interpreter
lock, so blocks of nodes run side by side in a thread pool without numba's own (slow to compile) parallel back end.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numba import njit

from revgnn.csr import IndexArray

_BLOCK_EDGES = 1 << 21
"""Edges a task of the thread pool walks over, about; enough to make its overhead vanish, few enough to balance hubs."""


class Cut(NamedTuple):
    """All parts of a graph, one behind the other.

    Part `p` has the nodes `nodes[bounds[p]:bounds[p + 1]]`, ascending; node `nodes[s]` has the edges at positions
    `indptr[s]` to `indptr[s + 1]` of `src` and `edge`.
    """

    bounds: np.ndarray
    """int64, (P + 1,)."""
    nodes: np.ndarray
    """int64, (N,)."""
    indptr: np.ndarray
    """int64, (N + 1,)."""
    src: IndexArray
    """int32 or int64, (kept edges,): source of each kept edge, counted within its part."""
    edge: np.ndarray
    """int32 or int64, (kept edges,): its position in the whole graph."""


def cut(indptr: np.ndarray, src: IndexArray, nodes: np.ndarray, bounds: np.ndarray, threads: int = 1) -> Cut:
    """Keep the edges that stay within a part; see `Cut` for `nodes` and `bounds`. Memory: the kept edges, one in P of the whole."""
    num_nodes, num_edges = nodes.size, src.size
    slot = np.empty(num_nodes, np.int32 if num_nodes < 2**31 else np.int64)
    slot[nodes] = np.arange(num_nodes)
    out = np.zeros(num_nodes + 1, np.int64)
    # Rows are cut into blocks of about equal numbers of edges, not of nodes: degrees are heavy-tailed.
    blocks = max(1, num_edges // _BLOCK_EDGES)
    edges = np.searchsorted(indptr, np.linspace(0, num_edges, blocks + 1)[1:-1])
    starts = np.concatenate([[0], edges, [num_nodes]]).astype(np.int64)
    part_of_slot = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
    lower, upper = bounds[:-1][part_of_slot], bounds[1:][part_of_slot]

    _in_threads(lambda b: _count_kept(starts[b], starts[b + 1], indptr, src, slot, lower, upper, out), blocks, threads)
    np.cumsum(out, out=out)
    kept = np.empty(out[-1], src.dtype)
    edge = np.empty(out[-1], np.int32 if num_edges < 2**31 else np.int64)
    _in_threads(lambda b: _fill_kept(starts[b], starts[b + 1], indptr, src, slot, lower, upper, out, kept, edge), blocks, threads)
    return Cut(bounds, nodes, out, kept, edge)


def take_rows(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`values[rows]` for (E, K) values, without holding the interpreter lock."""
    out = np.empty((rows.size, values.shape[1]), values.dtype)
    _take_rows(values, rows, out)
    return out


def _in_threads(task: Callable[[int], None], count: int, threads: int) -> None:
    if threads <= 1 or count == 1:
        for b in range(count):
            task(b)
        return
    with ThreadPoolExecutor(min(threads, count)) as pool:
        list(pool.map(task, range(count)))  # list() so that an exception of a task is raised here


@njit(cache=True, nogil=True)
def _count_kept(start, stop, indptr, src, slot, lower, upper, out):
    """`out[s + 1]` = edges into the node of slot `s` from its own part, for nodes `start` to `stop`."""
    for i in range(start, stop):
        s = slot[i]
        low, high = lower[s], upper[s]
        count = 0
        for e in range(indptr[i], indptr[i + 1]):
            j = slot[src[e]]
            count += (j >= low) & (j < high)
        out[s + 1] = count


@njit(cache=True, nogil=True)
def _fill_kept(start, stop, indptr, src, slot, lower, upper, out, kept, edge):
    for i in range(start, stop):
        s = slot[i]
        low, high = lower[s], upper[s]
        p = out[s]
        for e in range(indptr[i], indptr[i + 1]):
            j = slot[src[e]]
            if j >= low and j < high:
                kept[p] = j - low
                edge[p] = e
                p += 1


@njit(cache=True, nogil=True)
def _take_rows(values, rows, out):
    for r in range(rows.size):
        row = rows[r]
        for k in range(values.shape[1]):
            out[r, k] = values[row, k]
