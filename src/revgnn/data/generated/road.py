"""Beacons on a road map: each node must say what the nearest beacon sends, which only the beacon itself knows.

The map is planar: places on a shaken grid, the minimum spanning tree of their Delaunay triangulation under random lengths, and the
shortest other edges, as in road networks with a mean degree of about 2.5. Beacons lie at least `1.75 * hops` apart. Each sends
`bits` random bits, which are its features; those of all other nodes are equal. The labels of a node are the bits of the beacon that
is nearest by the number of hops.

Training nodes are all nodes nearest to a training beacon, near and far. Validation and test nodes are nearest to other beacons, and
between `hops` and `1.25 * hops` away from theirs. So what a test node must say has never been seen, and is at least `hops` away.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse
import torch
from scipy.sparse.csgraph import dijkstra, minimum_spanning_tree
from scipy.spatial import Delaunay

from revgnn.data.build_graph import build_graph
from revgnn.data.dataset import NodeDataset
from revgnn.data.generated.horizon import Horizon, cut_in_parts, split_of

_MORE_EDGES = 0.22
"""Edges beside those of the spanning tree, by node: for a mean degree of about 2.4."""

_MARGIN = 2
"""Hops by which the nearest beacon must be nearer than the next; other nodes have no labels."""


def road(nodes: int = 6400, hops: int = 16, bits: int = 2, shift: int = 0, seed: int = 0) -> NodeDataset:
    """Return a data set of a road map with beacons; the module describes the task.

    Args:
        nodes: about as many (the next square).
        hops: from a test node to its beacon, at least.
        bits: T, that a beacon sends.
        shift: 1 turns every bit of validation and test beacons around; 0 does not. Within fewer than `hops` of each validation and
            test node nothing changes, but all its labels do: so over both, a function of these nodes has a mean ROC-AUC of 1/2.
        seed: seed of all random numbers.

    Returns:
        An undirected graph, T + 2 features (bits as -1 or 1 at beacons and 0 elsewhere, is beacon, 1), T labels, one split.

    Raises:
        ValueError: if an argument is out of range, or the map is too small for four beacons in each part.
    """
    if hops < 2 or bits < 1 or shift not in (0, 1) or seed < 0:
        raise ValueError(
            f"hops must be 2 or more, bits 1 or more, shift 0 or 1, seed 0 or more; got hops={hops}, bits={bits}, shift={shift}, "
            f"seed={seed}."
        )
    rng = np.random.default_rng(seed)
    edges, count = _road_map(nodes, rng)
    roads = scipy.sparse.csr_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (count, count))
    beacons = _place_beacons(roads, count, -(-7 * hops // 4), rng)
    part_of = cut_in_parts(len(beacons), rng)
    if np.bincount(part_of, minlength=3).min() < 4:
        raise ValueError(
            f"a map of {count:,} nodes has room for {len(beacons)} beacons {hops} hops from their nodes, which is too few; ask for "
            "more nodes, or fewer hops."
        )
    bit = _balanced_bits(part_of, bits, rng) ^ (shift * (part_of > 0))[:, None]
    distance = np.asarray(dijkstra(roads, directed=False, unweighted=True, indices=beacons))
    nearest, own = np.argmin(distance, axis=0), np.min(distance, axis=0)
    distance[nearest, np.arange(count)] = np.inf
    clear = distance.min(axis=0) - own >= _MARGIN
    x = np.zeros((count, bits + 2), np.float32)
    x[beacons, :bits] = 2 * bit - 1
    x[beacons, bits], x[:, bits + 1] = 1, 1
    part = part_of[nearest]
    far = (own >= hops) & (own <= _reach(hops))
    part = np.where(clear & (far | (part == 0)), part, -1)
    return NodeDataset(
        name="road-beacons",
        graph=build_graph(edges.T, count, undirected=True),
        x=torch.from_numpy(x),
        y=torch.from_numpy(np.where(clear[:, None], bit[nearest], np.nan).astype(np.float32)),
        task="multilabel",
        num_outputs=bits,
        metric="rocauc",
        splits=(split_of(part),),
        task_names=tuple(f"bit {number}" for number in range(bits)),
        source="generated",
        licence="none needed",
    )


def road_horizon(hops: int = 16, **_: int) -> Horizon:
    """Return the horizon of `road` with these arguments."""
    return Horizon(hops, _reach(hops), 0.5)


def _reach(hops: int) -> int:
    return hops + hops // 4


def _road_map(nodes: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Return the edges (E, 2) of a connected planar map, each once, and its number of nodes."""
    side = int(np.ceil(np.sqrt(max(nodes, 9))))
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)
    places = grid + rng.uniform(-0.4, 0.4, grid.shape)
    triangles = np.asarray(Delaunay(places).simplices)
    edges = np.unique(np.sort(np.concatenate([triangles[:, pair] for pair in ([0, 1], [1, 2], [0, 2])]), axis=1), axis=0)
    count = len(places)
    length = np.linalg.norm(places[edges[:, 0]] - places[edges[:, 1]], axis=1) * rng.uniform(1, 2, len(edges))
    tree = minimum_spanning_tree(scipy.sparse.csr_matrix((length, edges.T), (count, count)))
    is_in_tree = np.asarray(tree[edges[:, 0], edges[:, 1]]).ravel() > 0
    others = np.flatnonzero(~is_in_tree)
    shortest = others[np.argsort(length[others], kind="stable")[: round(_MORE_EDGES * count)]]
    return edges[np.sort(np.concatenate([np.flatnonzero(is_in_tree), shortest]))], count


def _place_beacons(roads: scipy.sparse.csr_matrix, count: int, apart: int, rng: np.random.Generator) -> np.ndarray:
    """Return nodes (of `count`) that are at least `apart` hops from one another, as many as find room in random order."""
    free = np.ones(count, bool)
    beacons = []
    for node in rng.permutation(count):
        if free[node]:
            beacons.append(node)
            near = np.asarray(dijkstra(roads, directed=False, unweighted=True, indices=node, limit=apart - 1))
            free[near < apart] = False
    return np.array(beacons)


def _balanced_bits(part: np.ndarray, bits: int, rng: np.random.Generator) -> np.ndarray:
    """Return 0 or 1 for each beacon and bit: of each part, half of the beacons have each, as likely turned around."""
    bit = np.empty((len(part), bits), np.int64)
    for number in range(3):
        members = np.flatnonzero(part == number)
        halves = np.arange(len(members)) % 2
        for column in range(bits):
            bit[members, column] = rng.permutation(halves) ^ rng.integers(2)
    return bit
