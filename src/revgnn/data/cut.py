"""Cut one part out of a compressed graph: one pass over the edges of its nodes, then one over the edges that are kept.

All functions work on NumPy arrays. numba compiles the loops on first use and caches the result on disk. The loops release the
interpreter lock: blocks of nodes run in parallel in a thread pool, also next to a training step, without numba's own parallel
back end, which is slow to compile.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch

from revgnn.graph.csr import IndexArray
from revgnn.kernels.cpu.cache import cached_njit

_BLOCK_EDGES = 1 << 20
"""Edges that one task of the thread pool works on, about: many enough to hide its overhead, few enough to balance hubs."""


class Assignment(NamedTuple):
    """Which node is in which part: part `p` has the nodes `nodes[bounds[p]:bounds[p + 1]]`, ascending."""

    bounds: np.ndarray
    """int64, (P + 1,)."""
    nodes: np.ndarray
    """int64, (N,)."""
    position: np.ndarray
    """uint32 (uint64 if N >= 2**31), (N,): the position of each node in `nodes`."""

    @classmethod
    def from_order(cls, order: np.ndarray, bounds: np.ndarray) -> Assignment:
        """Make the assignment from a permutation of the nodes (int64, (N,)), which is sorted in place within each part."""
        # With ascending nodes the passes over edges and features move forward through memory.
        for start, stop in itertools.pairwise(bounds):
            order[start:stop].sort()
        position = np.empty(order.size, np.uint32 if order.size < 2**31 else np.uint64)
        position[order] = np.arange(order.size, dtype=position.dtype)
        return cls(bounds, order, position)


class PartArrays(NamedTuple):
    """A part with M nodes, numbered from 0, compressed by destination like the whole graph."""

    indptr: np.ndarray
    """int64, (M + 1,)."""
    src: IndexArray
    """int32 or int64, (kept edges,)."""
    values: np.ndarray | None
    """(kept edges, K): the kept rows of the values of edges."""


def cut_part(
    indptr: np.ndarray, src: IndexArray, values: np.ndarray | None, assignment: Assignment, part: int, threads: int = 1
) -> PartArrays:
    """Return the edges between nodes of one part, in the whole graph's order, with their rows of `values`.

    Besides its result it needs 4 bytes (8 if E >= 2**31) for each kept edge.

    Args:
        indptr, src: the whole graph, compressed by destination.
        values: any dtype, (E, K), or None. Only the kept rows are read.
        assignment: which node is in which part.
        part: number of the part.
        threads: number of threads; the result does not depend on it.
    """
    low, high = assignment.bounds[part : part + 2]
    nodes, position = assignment.nodes[low:high], assignment.position
    ends = np.zeros(nodes.size + 1, np.int64)
    np.cumsum(indptr[nodes + 1] - indptr[nodes], out=ends[1:])
    # Blocks of nodes with about the same number of edges, not of nodes: degrees are heavy-tailed.
    num_blocks = max(1, int(ends[-1]) // _BLOCK_EDGES)
    inner = np.searchsorted(ends, np.linspace(0, ends[-1], num_blocks + 1)[1:-1])
    starts = np.concatenate([[0], inner, [nodes.size]]).astype(np.int64)

    part_indptr = np.zeros(nodes.size + 1, np.int64)
    # Room for every edge of the part's nodes. The system provides memory only for the pages that are written.
    kept = np.empty(ends[-1], np.uint32 if src.size < 2**31 else np.uint64)
    first, size = position.dtype.type(low), position.dtype.type(high - low)
    unsigned_src = src.view(np.uint32 if src.itemsize == 4 else np.uint64)

    def find(b: int) -> None:
        _find_kept_edges(starts[b], starts[b + 1], indptr, unsigned_src, nodes, position, first, size, ends, kept, part_indptr)

    _run_in_threads(find, num_blocks, threads)
    np.cumsum(part_indptr, out=part_indptr)
    part_src = np.empty(part_indptr[-1], src.dtype)
    part_values = None if values is None else _aligned((int(part_indptr[-1]), values.shape[1]), values.dtype)
    words = None if values is None or part_values is None else _as_words(values, part_values)

    def fill(b: int) -> None:
        rows = slice(part_indptr[starts[b]], part_indptr[starts[b + 1]])
        edges = kept[ends[starts[b]] :][: rows.stop - rows.start]
        _renumber_sources(edges, unsigned_src, position, first, part_src[rows])
        if words is not None:
            _take_rows(words[0], edges, words[1][rows])

    _run_in_threads(fill, num_blocks, threads)
    return PartArrays(part_indptr, part_src, part_values)


def take_rows(values: np.ndarray, rows: np.ndarray, threads: int = 1) -> np.ndarray:
    """Return `values[rows]` for values (E, K), without temporary copies."""
    taken = _aligned((rows.size, values.shape[1]), values.dtype)
    value_words, taken_words = _as_words(values, taken)
    blocks = [slice(start, start + _BLOCK_EDGES) for start in range(0, rows.size, _BLOCK_EDGES)]
    _run_in_threads(lambda b: _take_rows(value_words, rows[blocks[b]], taken_words[blocks[b]]), len(blocks), threads)
    return taken


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return uninitialised memory aligned to a cache line, as torch allocates it: a row of 8 float32 then needs one line only."""
    return torch.empty(shape, dtype=torch.from_numpy(np.empty(0, dtype)).dtype).numpy()


def _as_words(values: np.ndarray, taken: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """View both arrays as the widest integers that a row consists of: a row, of any dtype, is then copied in a few moves."""
    width = values.shape[1] * values.itemsize
    if not values.flags.c_contiguous or width == 0:
        return values, taken
    word = next(size for size in (8, 4, 2, 1) if width % size == 0 and values.ctypes.data % size == 0)
    return values.view(f"i{word}"), taken.view(f"i{word}")


def _run_in_threads(task: Callable[[int], None], count: int, threads: int) -> None:
    if threads <= 1 or count <= 1:
        for b in range(count):
            task(b)
        return
    with ThreadPoolExecutor(min(threads, count)) as pool:
        list(pool.map(task, range(count)))  # list() raises the exception of a task here


# Indices below are unsigned. Python counts negative indices from the end, and testing each for its sign would double the time.


@cached_njit(nogil=True)
def _find_kept_edges(start, stop, indptr, src, nodes, position, first, size, ends, kept, counts):
    """Write the positions of the kept edges of the part's nodes `start` to `stop`, from `kept[ends[start]]` on.

    `counts[i + 1]` becomes their number at node `i`. One in P edges is kept, at random, and a branch predictor cannot foresee
    which: write every edge, and move on only after one that is kept. This writes only where the block's own edges have room.
    """
    p = np.uint64(ends[start])
    for i in range(start, stop):
        before = p
        for e in range(np.uint64(indptr[nodes[i]]), np.uint64(indptr[nodes[i] + 1])):
            kept[p] = e
            # For a node before the part's first, the unsigned difference is a very large number.
            p += np.uint64(position.dtype.type(position[src[e]] - first) < size)
        counts[i + 1] = p - before


@cached_njit(nogil=True)
def _renumber_sources(edges, src, position, first, out):
    for n in range(edges.size):
        out[n] = position[src[edges[n]]] - first


@cached_njit(nogil=True)
def _take_rows(values, rows, out):
    for r in range(rows.size):
        row = rows[r]
        for k in range(values.shape[1]):
            out[r, k] = values[row, k]
