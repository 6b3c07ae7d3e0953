"""Cutting one part out of a compressed graph: one walk over the edges of its nodes, then one over those that stay.

Works on NumPy arrays, compiled by numba on first use (the result is cached on disk). The kernels release the interpreter
lock, so blocks of nodes run side by side in a thread pool without numba's own (slow to compile) parallel back end, and
beside a training step.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from numba import njit

from revgnn.graph.csr import IndexArray

_BLOCK_EDGES = 1 << 20
"""Edges a task of the thread pool walks over, about; enough to make its overhead vanish, few enough to balance hubs."""


class Draw(NamedTuple):
    """Which node is in which part: part `p` has the nodes `nodes[bounds[p]:bounds[p + 1]]`, ascending."""

    bounds: np.ndarray
    """int64, (P + 1,)."""
    nodes: np.ndarray
    """int64, (N,)."""
    slot: np.ndarray
    """uint32 (uint64 where N >= 2**31), (N,): where each node stands in `nodes`."""

    @classmethod
    def of(cls, order: np.ndarray, bounds: np.ndarray) -> Draw:
        """From nodes in any order (int64, (N,), a permutation; it is sorted in place within each part)."""
        # Ascending within a part: the walk over edges and features then goes forwards through memory.
        for start, stop in itertools.pairwise(bounds):
            order[start:stop].sort()
        slot = np.empty(order.size, np.uint32 if order.size < 2**31 else np.uint64)
        slot[order] = np.arange(order.size, dtype=slot.dtype)
        return cls(bounds, order, slot)


class Piece(NamedTuple):
    """A part, compressed by destination like the whole; its nodes are counted from 0."""

    indptr: np.ndarray
    """int64, (M + 1,)."""
    src: IndexArray
    """int32 or int64, (kept edges,)."""
    values: np.ndarray | None
    """(kept edges, K): the rows of the edges' values that stay."""


def cut(indptr: np.ndarray, src: IndexArray, values: np.ndarray | None, draw: Draw, part: int, threads: int = 1) -> Piece:
    """The edges that stay within a part, in the whole graph's order, with their rows of `values`.

    Args:
        indptr, src: the whole graph, compressed by destination.
        values: any dtype, (E, K), or None. Only the rows that stay are read.
        draw: which node is in which part.
        part: which part.
        threads: how many to use; the result does not depend on it.

    Memory: the part itself, and 4 bytes (8 where E >= 2**31) for each edge kept.
    """
    low, high = draw.bounds[part : part + 2]
    nodes = draw.nodes[low:high]
    ends = np.zeros(nodes.size + 1, np.int64)
    np.cumsum(indptr[nodes + 1] - indptr[nodes], out=ends[1:])
    # Rows are cut into blocks of about equal numbers of edges, not of nodes: degrees are heavy-tailed.
    blocks = max(1, int(ends[-1]) // _BLOCK_EDGES)
    inner = np.searchsorted(ends, np.linspace(0, ends[-1], blocks + 1)[1:-1])
    starts = np.concatenate([[0], inner, [nodes.size]]).astype(np.int64)

    out = np.zeros(nodes.size + 1, np.int64)
    # Room for every edge of the part's nodes; of what is not written the system never makes memory.
    found = np.empty(ends[-1], np.uint32 if src.size < 2**31 else np.uint64)
    first, size = draw.slot.dtype.type(low), draw.slot.dtype.type(high - low)
    sources = src.view(np.uint32 if src.itemsize == 4 else np.uint64)

    def find(b: int) -> None:
        _find(starts[b], starts[b + 1], indptr, sources, nodes, draw.slot, first, size, ends, found, out)

    _in_threads(find, blocks, threads)
    np.cumsum(out, out=out)
    kept = np.empty(out[-1], src.dtype)
    taken = None if values is None else _aligned((int(out[-1]), values.shape[1]), values.dtype)
    words = None if values is None or taken is None else _as_words(values, taken)

    def fill(b: int) -> None:
        rows = slice(out[starts[b]], out[starts[b + 1]])
        edges = found[ends[starts[b]] :][: rows.stop - rows.start]
        _rename(edges, sources, draw.slot, first, kept[rows])
        if words is not None:
            _take_rows(words[0], edges, words[1][rows])

    _in_threads(fill, blocks, threads)
    return Piece(out, kept, taken)


def take_rows(values: np.ndarray, rows: np.ndarray, threads: int = 1) -> np.ndarray:
    """`values[rows]` for (E, K) values, without a copy of either."""
    taken = _aligned((rows.size, values.shape[1]), values.dtype)
    wide, out = _as_words(values, taken)
    starts = range(0, rows.size, _BLOCK_EDGES)
    run = [slice(start, start + _BLOCK_EDGES) for start in starts]
    _in_threads(lambda b: _take_rows(wide, rows[run[b]], out[run[b]]), len(run), threads)
    return taken


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Uninitialised memory that begins a cache line, as torch allocates it: of eight float32 features, no row then lies in two."""
    return torch.empty(shape, dtype=torch.from_numpy(np.empty(0, dtype)).dtype).numpy()


def _as_words(values: np.ndarray, taken: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same memory in the widest integers that a row is made of: a row is then a few moves, whatever its dtype."""
    width = values.shape[1] * values.itemsize
    if not values.flags.c_contiguous or width == 0:
        return values, taken
    word = next(size for size in (8, 4, 2, 1) if width % size == 0 and values.ctypes.data % size == 0)
    return values.view(f"i{word}"), taken.view(f"i{word}")


def _in_threads(task: Callable[[int], None], count: int, threads: int) -> None:
    if threads <= 1 or count <= 1:
        for b in range(count):
            task(b)
        return
    with ThreadPoolExecutor(min(threads, count)) as pool:
        list(pool.map(task, range(count)))  # list() so that an exception of a task is raised here


# Indices are unsigned: Python counts negative ones from the end, and asking each whether it is one takes as long as the rest.


@njit(cache=True, nogil=True)
def _find(start, stop, indptr, src, nodes, slot, first, size, ends, found, out):
    """Positions of the edges that stay, for the part's nodes `start` to `stop`, from `found[ends[start]]` on.

    `out[i + 1]` is their number at node `i`. One in P stays, at random, which no branch predictor foresees: write always, and
    move on only past what stays. What is written so lies within the room that the block's own edges have.
    """
    p = np.uint64(ends[start])
    for i in range(start, stop):
        before = p
        for e in range(np.uint64(indptr[nodes[i]]), np.uint64(indptr[nodes[i] + 1])):
            found[p] = e
            # of a node before the part's first this is a very large number
            p += np.uint64(slot.dtype.type(slot[src[e]] - first) < size)
        out[i + 1] = p - before


@njit(cache=True, nogil=True)
def _rename(edges, src, slot, first, kept):
    for n in range(edges.size):
        kept[n] = slot[src[edges[n]]] - first


@njit(cache=True, nogil=True)
def _take_rows(values, rows, out):
    for r in range(rows.size):
        row = rows[r]
        for k in range(values.shape[1]):
            out[r, k] = values[row, k]
