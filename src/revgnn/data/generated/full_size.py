"""A generated graph of the full size of ogbn-proteins, made in seconds and in little more memory than the graph itself needs.

For measurements, and for experiments with graphs larger than memory. It has no labels and no structure to learn; for that see
`revgnn.data.generated.synthetic`.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numba import njit, uint64

from revgnn.graph import Graph, csr
from revgnn.kernels.cpu.cache import cached_njit

_DECIMALS = 3
"""Decimals of the edge features, as in ogbn-proteins."""


def full_size(
    num_nodes: int = 132_534,
    num_edges: int = 79_122_504,
    num_edge_features: int = 8,
    *,
    seed: int = 0,
    edge_storage: Literal["float32", "int16"] = "float32",
) -> Graph:
    """Return a graph of exactly this size; by default that of ogbn-proteins: 2.5 GB of edge features, 0.3 GB of indices.

    Each pair of nodes is joined with probability min(1, s w_i w_j), w log-normal, and surplus pairs are removed at random
    (pairs are drawn in time O(N + E) by Miller and Hagberg 2011, doi:10.1007/978-3-642-21286-4_10). Degrees are therefore
    heavy-tailed, and there are no doubled edges and no self-loops. Every edge has its reverse with the same features.

    Args:
        num_nodes: N.
        num_edges: E, directed and even; at most half of all ordered pairs.
        num_edge_features: K, uniform in [0, 1] with 3 decimals; 0 for none.
        seed: seed of all random numbers.
        edge_storage: "float32", or "int16" in thousandths (`Graph.edge_scale`), half as large.

    Raises:
        ValueError: if `num_edges` is odd, negative or too large.
    """
    limit = num_nodes * (num_nodes - 1) // 2
    if num_edges < 0 or num_edges % 2 or num_edges > limit:
        raise ValueError(f"num_edges must be even and between 0 and half of all ordered pairs ({limit}), got {num_edges}.")
    rng = np.random.default_rng(seed)
    weight = np.sort(rng.lognormal(0.0, 0.9, num_nodes))[::-1].copy()
    node = rng.permutation(num_nodes).astype(np.int32)  # the number of a node does not depend on its weight
    pairs = _draw_exactly(num_edges // 2, weight, node, seed)
    indptr, src = csr.compress_with_reverse(pairs[0], pairs[1], num_nodes)
    structure = Graph(torch.from_numpy(indptr), torch.from_numpy(src))
    if not num_edge_features:
        return structure
    del pairs
    is_int16 = edge_storage == "int16"
    edge_attr = np.empty((num_edges, num_edge_features), np.int16 if is_int16 else np.float32)
    _fill_features(indptr, src, seed, 10**_DECIMALS + 1, 1 if is_int16 else 10**_DECIMALS, edge_attr)
    return structure.with_edge_attr(torch.from_numpy(edge_attr), edge_scale=10.0**-_DECIMALS if is_int16 else 1.0)


def _draw_exactly(wanted: int, weight: np.ndarray, node: np.ndarray, seed: int) -> np.ndarray:
    """Return int32, (2, wanted): distinct pairs of distinct nodes, in no particular order."""
    no_pairs = np.empty((2, 0), np.int32)
    if wanted == 0:
        return no_pairs
    scale = 2.0 * wanted / weight.sum() ** 2
    total = 0
    while total < wanted:
        # Probabilities are capped at 1, so that hubs get too few pairs: raise all of them until there are enough.
        scale *= 1.02 * wanted / max(total, 1) if total else 1.02
        total = _draw_pairs(weight, node, scale, seed, 0, 0, no_pairs)
    pairs = np.empty((2, wanted), np.int32)
    _draw_pairs(weight, node, scale, seed, wanted, total, pairs)
    return pairs


@njit(inline="always")
def _splitmix64(n):
    """Return the n-th number of splitmix64 (Steele, Lea and Flood 2014): 64 random bits."""
    z = uint64(n) * uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> uint64(27))) * uint64(0x94D049BB133111EB)
    return z ^ (z >> uint64(31))


@njit(inline="always")
def _uniform(n):
    """Return the n-th random number in (0, 1]."""
    return (np.float64(_splitmix64(n) >> uint64(11)) + 1.0) * 2.0**-53


@cached_njit(nogil=True)
def _draw_pairs(weight, node, scale, seed, wanted, total, pairs):
    """Draw pairs, write a random selection of `wanted` of the `total` into `pairs`, and return how many were drawn.

    The same `weight`, `scale` and `seed` give the same draw: a first call with `wanted` 0 counts the pairs, a second one selects
    some. `weight` descends, so that within a row the probability only falls. The loop skips ahead with the last probability it
    has seen, and accepts the pair it reaches with the ratio of that pair's probability to the last one.
    """
    num_nodes = weight.size
    state = _splitmix64(seed) >> uint64(1)
    thinning = _splitmix64(seed + 1) >> uint64(1)
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
                # Selection sampling: exactly `wanted` of `total`, all subsets equally likely.
                thinning += uint64(1)
                if taken < wanted and _uniform(thinning) * (total - drawn) <= wanted - taken:
                    pairs[0, taken] = node[i]
                    pairs[1, taken] = node[j]
                    taken += 1
                drawn += 1
            last = now
            j += 1
    return drawn


@cached_njit(nogil=True)
def _fill_features(indptr, src, seed, values, divisor, out):
    """Fill `out` (E, K) with integers below `values`, divided by `divisor`: hashes of k and of the edge's unordered ends."""
    for i in range(indptr.size - 1):
        for e in range(indptr[i], indptr[i + 1]):
            low, high = min(i, src[e]), max(i, src[e])
            state = _splitmix64(uint64(low) << uint64(32) | uint64(high)) ^ _splitmix64(seed)
            for k in range(out.shape[1]):
                whole = (_splitmix64(state + uint64(k)) >> uint64(32)) * uint64(values) >> uint64(32)
                if divisor == 1:
                    out[e, k] = whole
                else:
                    out[e, k] = np.float64(whole) / divisor
