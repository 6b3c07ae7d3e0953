"""Describe a data set: sizes, degrees, features, and how far equal labels join. Only labels of training nodes are read."""

from __future__ import annotations

import numpy as np
import scipy.sparse
import torch
from scipy.sparse.csgraph import breadth_first_order
from torch import Tensor

from revgnn.data import NodeDataset
from revgnn.experiments.auto.profile import FeatureKind, GraphProfile
from revgnn.graph import Graph

ENOUGH_EDGES = 100
"""Edges between training nodes that tell homophily."""

_LARGEST_WALK = 20_000_000
_MOST_EDGES = 20_000_000
_ROWS = 20_000
_MAX_LABELS = 16


def describe(dataset: NodeDataset) -> GraphProfile:
    """Return the profile of a data set as it was read, before its features are scaled. It is the same on each call."""
    graph = dataset.graph
    degrees = graph.in_degree
    kind, filled, uneven = _features(dataset)
    return GraphProfile(
        num_nodes=graph.num_nodes,
        num_edges=graph.num_edges,
        mean_degree=graph.num_edges / max(graph.num_nodes, 1),
        max_degree=int(degrees.max()) if len(degrees) else 0,
        eccentricity=eccentricity(graph),
        num_features=dataset.in_channels,
        feature_kind=kind,
        filled=filled,
        uneven=uneven,
        num_edge_features=dataset.num_edge_features,
        task=dataset.task,
        num_outputs=dataset.num_outputs,
        num_train=len(dataset.split.train),
        num_rows=dataset.num_rows,
        homophily=homophily(dataset),
    )


def homophily(dataset: NodeDataset) -> float | None:
    r"""Return the adjusted homophily of the edges between training nodes; None if fewer than `ENOUGH_EDGES` have classes.

    $(h - \sum_k p_k^2) / (1 - \sum_k p_k^2)$, where h is the share of edges between nodes of one class and $p_k$ the share of ends
    in class k (Platonov et al. 2023, arXiv:2209.06177). Several labels: the mean over those with both values, at most 16 of
    them. Self-loops do not count.
    """
    graph, task = dataset.graph, dataset.task
    if dataset.row != "node" or task == "regression":
        return None
    training = torch.zeros(graph.num_nodes, dtype=torch.bool)
    training[dataset.split.train] = True
    step = -(-graph.num_edges // _MOST_EDGES) or 1
    src, dst = graph.src[::step].long(), graph.dst[::step].long()
    joined = training[src] & training[dst] & (src != dst)
    src, dst = src[joined], dst[joined]
    if task != "multilabel":
        known = dataset.objective.labelled(dataset.y)
        kept = known[src] & known[dst]
        return _adjusted(dataset.y[src[kept]], dataset.y[dst[kept]])
    values = []
    # Some of many labels tell the mean.
    for column in dataset.y[:, :: -(-dataset.num_outputs // _MAX_LABELS)].unbind(dim=1):
        known = ~column.isnan()
        kept = known[src] & known[dst]
        values.append(_adjusted(column[src[kept]].long(), column[dst[kept]].long()))
    found = [value for value in values if value is not None]
    return float(np.mean(found)) if found else None


def _adjusted(first: Tensor, second: Tensor) -> float | None:
    if len(first) < ENOUGH_EDGES:
        return None
    shares = torch.bincount(torch.cat([first, second])).double() / (2 * len(first))
    by_chance = float((shares**2).sum())
    if by_chance > 1 - 1e-9:  # all ends have one class
        return None
    return (float((first == second).double().mean()) - by_chance) / (1 - by_chance)


def eccentricity(graph: Graph) -> int | None:
    """Return the steps from a node to the farthest it reaches, edges taken in both directions; None for a very large graph.

    Starts at the node of most edges, walks to the farthest node, and counts from there, which on most graphs is close to the
    diameter.
    """
    if graph.num_edges > _LARGEST_WALK:
        return None
    if graph.num_edges == 0:
        return 0
    data = np.ones(graph.num_edges, np.int8)
    matrix = scipy.sparse.csr_matrix((data, graph.src.cpu().numpy(), graph.indptr.cpu().numpy()), shape=(graph.num_nodes,) * 2)
    start, depth = int(graph.in_degree.argmax()), 0
    for _ in range(2):
        order, parents = breadth_first_order(matrix, start, directed=False)
        # the order is that of the distance, so each parent's distance is known before its children's
        distance = np.zeros(graph.num_nodes, np.int64)
        for node in order[1:]:
            distance[node] = distance[parents[node]] + 1
        start, depth = int(order[-1]), int(distance[order[-1]])
    return depth


def _features(dataset: NodeDataset) -> tuple[FeatureKind, float, float]:
    """Return the kind of the features, `GraphProfile.filled` and `.uneven`, from at most the first 20,000 nodes."""
    x = dataset.x
    if x is None or x.shape[1] == 0:
        return "none", 0.0, 1.0
    x = x[:_ROWS]
    deviation = x.std(dim=0, correction=0)
    varying = deviation[deviation > 1e-6 * x.abs().amax(dim=0)]
    uneven = float(varying.max() / varying.min()) if len(varying) > 1 else 1.0
    filled = float((x != 0).double().mean())
    if dataset.tables is not None:
        return "encoded", filled, uneven
    if bool((x >= 0).all()) and x.shape[1] >= 50 and filled < 0.5:
        return "words", filled, uneven
    if bool(((x == 0) | (x == 1)).all()):
        return "flags", filled, uneven
    return "mixed", filled, uneven
