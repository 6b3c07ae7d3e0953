"""Generated graphs similar to ogbn-proteins: a data set to train on, and a graph of an exact size to measure on.

**The task.** Small communities of nodes are arranged on a ring. An edge joins two nodes of one community, or of communities one
or two places apart, or (rarely) any two. Each community has a hidden signal of 8 channels; the features of the edges into its
nodes are noisy observations of it. Label `t` of a node is 1 if channel `t mod 8` of the signal, averaged over a random walk of
`h_t` steps from the node, is above the value predicted from the signal of the node's own community. `h_t` is 2, 4 or 6. A node's
own features therefore say almost nothing about its labels, one round of messages says something, and more rounds say more. Whole
communities are held out for validation and test, as ogbn-proteins holds out whole species: a model must learn the averaging, not
the communities.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse
import torch

from revgnn.data.build_graph import build_graph
from revgnn.data.dataset import NodeDataset, Split
from revgnn.data.node_features import default_node_features
from revgnn.graph import Graph

HOPS = (2, 4, 6)
NUM_EDGE_FEATURES = 8
_COMMUNITY_SIZE = 10
_SHARE_BY_DISTANCE = (0.3, 0.44, 0.24)
"""Share of edges within a community, and between communities one and two places apart on the ring."""
_SHARE_ANYWHERE = 0.02
"""Share of edges between any two nodes."""


def generate(num_nodes: int = 2000, degree: float = 20.0, tasks: int = 12, species: int = 4, seed: int = 0) -> NodeDataset:
    """Return a data set of any size, similar to ogbn-proteins; the module describes the task.

    Args:
        num_nodes: N, at least 200.
        degree: approximate mean number of edges into a node (doubled edges are dropped).
        tasks: T, number of binary labels of a node.
        species: number of categories; neighbouring communities have the same one.
        seed: seed of all random numbers. The same arguments give the same data set.

    Returns:
        An undirected graph with 8 edge features in [0, 1] (3 decimals), x their sums at each node, T labels scored by ROC-AUC, and
        one split 60/20/20 by communities.

    Raises:
        ValueError: if an argument is out of range.
    """
    if num_nodes < 200:
        raise ValueError(f"a generated data set needs 200 nodes or more, got nodes={num_nodes}.")
    if not 2 <= degree <= num_nodes / 4:
        raise ValueError(f"degree must be between 2 and a quarter of the nodes ({num_nodes // 4}), got degree={degree}.")
    if tasks < 1 or species < 1 or seed < 0:
        raise ValueError(f"tasks and species must be 1 or more, seed 0 or more; got tasks={tasks}, species={species}, seed={seed}.")
    rng = np.random.default_rng(seed)
    num_communities = num_nodes // _COMMUNITY_SIZE
    # A community has consecutive numbers; sizes differ by at most one.
    starts = np.arange(num_communities + 1) * num_nodes // num_communities
    community = np.repeat(np.arange(num_communities), np.diff(starts))
    src, dst = _planted_pairs(rng, community, starts, round(num_nodes * degree / 2))

    signal = rng.standard_normal((num_communities, NUM_EDGE_FEATURES))
    edge_attr = _observe(rng, signal[community[src]] + signal[community[dst]])
    graph = build_graph(np.stack([src, dst]), num_nodes, edge_attr, undirected=True)
    return NodeDataset(
        name="synthetic",
        graph=graph,
        x=default_node_features(graph),
        species=torch.from_numpy(community * species // num_communities),
        num_species=species,
        y=torch.from_numpy(_labels(graph, signal[community], tasks)),
        task="multilabel",
        num_outputs=tasks,
        metric="rocauc",
        splits=(_split_by_community(rng, community),),
        task_names=tuple(f"channel {t % NUM_EDGE_FEATURES}, {HOPS[t % len(HOPS)]} hops" for t in range(tasks)),
        source="generated",
        licence="none needed",
    )


def proteins_shaped(
    num_nodes: int = 13_253, num_edges: int = 791_225, num_edge_features: int = NUM_EDGE_FEATURES, seed: int = 0
) -> Graph:
    """Return a graph of exactly this size; by default that of one of ten random parts of ogbn-proteins, the paper's batch.

    Every edge has its reverse with the same features, except the last edge if `num_edges` is odd. There are no doubled edges and no
    self-loops. Degrees are heavy-tailed: propensities are log-normal, and the largest degree is about ten times the mean.

    Args:
        num_nodes: N.
        num_edges: E, directed; at most half of all ordered pairs.
        num_edge_features: K, uniform in [0, 1]; 0 for none.
        seed: seed of all random numbers.

    Raises:
        ValueError: if `num_edges` is negative or too large.
    """
    if num_edges < 0 or num_edges > num_nodes * (num_nodes - 1) // 2:
        limit = num_nodes * (num_nodes - 1) // 2
        raise ValueError(f"num_edges must be between 0 and half of all ordered pairs ({limit}), got {num_edges}.")
    rng = np.random.default_rng(seed)
    cumulative = np.cumsum(rng.lognormal(0.0, 0.9, num_nodes))
    wanted = (num_edges + 1) // 2
    pairs = np.empty(0, np.int64)
    while len(pairs) < wanted:
        # After many draws the pairs of hubs are exhausted. A tenth of the ends is uniform, so that the loop always ends.
        count = int(1.2 * (wanted - len(pairs))) + 64
        ends = np.searchsorted(cumulative, rng.random((2, count)) * cumulative[-1])
        ends = np.where(rng.random((2, count)) < 0.1, rng.integers(num_nodes, size=(2, count)), ends)
        pairs = np.union1d(pairs, _pair_keys(*ends, num_nodes))
    pairs = rng.permutation(pairs)[:wanted]
    low, high = pairs // num_nodes, pairs % num_nodes
    edge_index = np.stack([np.stack([low, high], 1).ravel(), np.stack([high, low], 1).ravel()])[:, :num_edges]
    edge_attr = None
    if num_edge_features:
        edge_attr = np.repeat(rng.random((wanted, num_edge_features), np.float32), 2, axis=0)[:num_edges]
    return build_graph(edge_index, num_nodes, edge_attr)


def _planted_pairs(
    rng: np.random.Generator, community: np.ndarray, starts: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw `count` pairs, with log-normal propensities of their ends, and return those that are distinct, of distinct nodes."""
    num_nodes, num_communities = len(community), len(starts) - 1
    cumulative = np.concatenate([[0.0], np.cumsum(rng.lognormal(0.0, 0.6, num_nodes))])

    def draw(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Draw a node from each range `[low, high)`."""
        point = cumulative[low] + rng.random(len(low)) * (cumulative[high] - cumulative[low])
        return np.clip(np.searchsorted(cumulative, point, side="right") - 1, low, high - 1)

    src = draw(np.zeros(count, np.int64), np.full(count, num_nodes))
    near = np.array(_SHARE_BY_DISTANCE) / sum(_SHARE_BY_DISTANCE)
    step = rng.choice(len(near), size=count, p=near) * rng.choice([1, -1], size=count)
    target = (community[src] + step) % num_communities
    target = np.where(rng.random(count) < _SHARE_ANYWHERE, rng.integers(num_communities, size=count), target)
    dst = draw(starts[target], starts[target + 1])
    key = np.unique(_pair_keys(src, dst, num_nodes))
    return key // num_nodes, key % num_nodes


def _pair_keys(a: np.ndarray, b: np.ndarray, num_nodes: int) -> np.ndarray:
    """Return one number for each unordered pair, without pairs of a node with itself."""
    keep = a != b
    return np.minimum(a, b)[keep] * np.int64(num_nodes) + np.maximum(a, b)[keep]


def _observe(rng: np.random.Generator, signal: np.ndarray) -> np.ndarray:
    """Return edge features in [0, 1] with 3 decimals: the sum of the ends' signals, with noise, through a sigmoid."""
    noisy = signal / np.sqrt(2) + 0.5 * rng.standard_normal(signal.shape)
    return np.round(1 / (1 + np.exp(-noisy)), 3).astype(np.float32)


def _labels(graph: Graph, signal: np.ndarray, tasks: int) -> np.ndarray:
    """Return float32, (N, T): 1 if the signal averaged over `h_t` steps is above its linear regression on the node's own."""
    num_nodes, in_degree = graph.num_nodes, graph.in_degree.numpy()
    weight = np.repeat(graph.inv_degree.numpy(), in_degree)
    walk = scipy.sparse.csr_matrix((weight, graph.src.numpy(), graph.indptr.numpy()), shape=(num_nodes, num_nodes))
    walk = walk + scipy.sparse.diags((in_degree == 0).astype(np.float32))  # a walk stays at a node without edges
    own = signal - signal.mean(axis=0)
    averaged = [own]  # over 0, 1, ... steps
    for _ in range(max(HOPS)):
        averaged.append(walk @ averaged[-1])
    labels = np.empty((num_nodes, tasks), np.float32)
    for t in range(tasks):
        channel = t % NUM_EDGE_FEATURES
        near, far = own[:, channel], averaged[HOPS[t % len(HOPS)]][:, channel]
        residual = far - near * (near @ far) / (near @ near)
        labels[:, t] = residual > np.median(residual)
    return labels


def _split_by_community(rng: np.random.Generator, community: np.ndarray) -> Split:
    num_communities = int(community[-1]) + 1
    rank = rng.permutation(num_communities)[community]
    train_end, valid_end = int(0.6 * num_communities), int(0.8 * num_communities)
    parts = (rank < train_end, (rank >= train_end) & (rank < valid_end), rank >= valid_end)
    return Split(*(torch.from_numpy(np.flatnonzero(part)) for part in parts))
