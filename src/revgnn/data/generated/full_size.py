"""A generated graph of the full size of ogbn-proteins, made in seconds and in little more memory than it takes itself.

To measure on, and to try out what happens beyond memory; there is nothing to be learnt from it (see `revgnn.data.generated.synthetic`).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numba import njit, uint64

from revgnn.graph import Graph

_DECIMALS = 3
"""Of the edge features, like those of ogbn-proteins."""


def full_size(
    num_nodes: int = 132_534,
    num_edges: int = 79_122_504,
    num_edge_features: int = 8,
    *,
    seed: int = 0,
    edge_storage: Literal["float32", "int16"] = "float32",
) -> Graph:
    """A graph of exactly this size; by default that of ogbn-proteins: 2.5 GB of edge features, 0.3 GB of indices.

    Each pair of nodes is joined with probability min(1, s w_i w_j), w log-normal, and what is too much is taken away at random
    (pairs are drawn in time O(N + E) by Miller and Hagberg 2011, doi:10.1007/978-3-642-21286-4_10). So degrees are heavy-tailed,
    and there are no doubled edges and no self-loops. Every edge has its reverse with the same features.

    Args:
        num_nodes: N.
        num_edges: E, directed and even; at most half of all ordered pairs.
        num_edge_features: K, uniform in [0, 1] with 3 decimals; 0 for none.
        seed: of everything random.
        edge_storage: "float32", or "int16" in thousandths (`Graph.edge_scale`), half as large.
    """
    limit = num_nodes * (num_nodes - 1) // 2
    if num_edges < 0 or num_edges % 2 or num_edges > limit:
        raise ValueError(f"num_edges must be even and between 0 and half of all ordered pairs ({limit}), got {num_edges}.")
    rng = np.random.default_rng(seed)
    weight = np.sort(rng.lognormal(0.0, 0.9, num_nodes))[::-1].copy()
    node = rng.permutation(num_nodes).astype(np.int32)  # a hub's number says nothing
    pairs = _exactly(num_edges // 2, weight, node, seed)
    indptr, src = _both_ways(pairs, num_nodes)
    structure = Graph(torch.from_numpy(indptr), torch.from_numpy(src))
    if not num_edge_features:
        return structure
    del pairs
    thousandths = np.empty((num_edges, num_edge_features), np.int16 if edge_storage == "int16" else np.float32)
    _fill_features(indptr, src, seed, 10**_DECIMALS + 1, 1 if edge_storage == "int16" else 10**_DECIMALS, thousandths)
    scale = 10.0**-_DECIMALS if edge_storage == "int16" else 1.0
    scale = 10.0**-_DECIMALS if edge_storage == "int16" else 1.0
    return structure.with_edge_attr(torch.from_numpy(thousandths), edge_scale=scale)


def _exactly(wanted: int, weight: np.ndarray, node: np.ndarray, seed: int) -> np.ndarray:
    """int32, (2, wanted): distinct pairs of distinct nodes, in no particular order."""
    nothing = np.empty((2, 0), np.int32)
    if wanted == 0:
        return nothing
    scale = 2.0 * wanted / weight.sum() ** 2
    total = 0
    while total < wanted:
        # Probabilities stop at 1, so that hubs fall short of their share: raise all until there are enough.
        scale *= 1.02 * wanted / max(total, 1) if total else 1.02
        total = _draw_pairs(weight, node, scale, seed, 0, 0, nothing)
    pairs = np.empty((2, wanted), np.int32)
    _draw_pairs(weight, node, scale, seed, wanted, total, pairs)
    return pairs


@njit(inline="always")
def _mixed(n):
    """The n-th number of splitmix64 (Steele, Lea and Flood 2014): 64 random bits."""
    z = uint64(n) * uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> uint64(27))) * uint64(0x94D049BB133111EB)
    return z ^ (z >> uint64(31))


@njit(inline="always")
def _uniform(n):
    """In (0, 1]."""
    return (np.float64(_mixed(n) >> uint64(11)) + 1.0) * 2.0**-53


@njit(cache=True, nogil=True)
def _draw_pairs(weight, node, scale, seed, wanted, total, pairs):
    """Draw the pairs, the same whenever `weight`, `scale` and `seed` are; how many, and into `pairs` `wanted` of the `total`.

    `weight` descends, so within a row the probability only falls: jump ahead as if it were the last one met, and accept with
    the ratio of the two.
    """
    num_nodes = weight.size
    state = _mixed(seed) >> uint64(1)
    thinning = _mixed(seed + 1) >> uint64(1)
    drawn, taken = 0, 0
    for i in range(num_nodes - 1):
        j = i + 1
        last = min(1.0, scale * weight[i] * weight[j])
        while j < num_nodes and last > 0.0:
            if last < 1.0:
                state += uint64(1)
                jump = np.log(_uniform(state)) / np.log1p(-last)
                if jump >= num_nodes - j:
                    break
                j += int(jump)
            now = min(1.0, scale * weight[i] * weight[j])
            state += uint64(1)
            if _uniform(state) * last <= now:
                # selection sampling: exactly `wanted` of `total`, each subset as likely as any
                thinning += uint64(1)
                if taken < wanted and _uniform(thinning) * (total - drawn) <= wanted - taken:
                    pairs[0, taken] = node[i]
                    pairs[1, taken] = node[j]
                    taken += 1
                drawn += 1
            last = now
            j += 1
    return drawn


@njit(cache=True, nogil=True)
def _both_ways(pairs, num_nodes):
    """Each pair as two edges, compressed by destination: `indptr` (int64) and `src` (int32)."""
    indptr = np.zeros(num_nodes + 1, np.int64)
    for p in range(pairs.shape[1]):
        indptr[pairs[0, p] + 1] += 1
        indptr[pairs[1, p] + 1] += 1
    for i in range(num_nodes):
        indptr[i + 1] += indptr[i]
    cursor = indptr[:-1].copy()
    src = np.empty(2 * pairs.shape[1], np.int32)
    for p in range(pairs.shape[1]):
        a, b = pairs[0, p], pairs[1, p]
        src[cursor[a]] = b
        src[cursor[b]] = a
        cursor[a] += 1
        cursor[b] += 1
    return indptr, src


@njit(cache=True, nogil=True)
def _fill_features(indptr, src, seed, values, divisor, out):
    """Feature k of an edge is one of `values` whole numbers over `divisor`: a hash of its ends, whichever comes first, and k."""
    for i in range(indptr.size - 1):
        for e in range(indptr[i], indptr[i + 1]):
            low, high = min(i, src[e]), max(i, src[e])
            state = _mixed(uint64(low) << uint64(32) | uint64(high)) ^ _mixed(seed)
            for k in range(out.shape[1]):
                whole = (_mixed(state + uint64(k)) >> uint64(32)) * uint64(values) >> uint64(32)
                if divisor == 1:
                    out[e, k] = whole
                else:
                    out[e, k] = np.float64(whole) / divisor
