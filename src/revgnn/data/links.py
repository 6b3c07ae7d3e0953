"""Link prediction: some edges of a graph are hidden, and a network tells them from pairs of nodes that have no edge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from revgnn.data.dataset import NodeDataset, Split
from revgnn.data.node_features import default_node_features
from revgnn.data.pairs import NonLinks, Pairs
from revgnn.graph import Graph

RATIOS = (0.8, 0.1, 0.1)
"""Shares of the links for training, validation and test."""

_TAG = 0x6C696E6B


def make_links(dataset: NodeDataset, split: int = 0, ratios: tuple[float, float, float] = RATIOS) -> NodeDataset:
    """Return the links of a graph as a data set: rows of `y` are pairs of nodes, 1 for a link and 0 for none.

    Links are split at random, `split` being the seed. The graph keeps only the edges of training links: of a link for validation or
    test, both directions are removed. Features made from the graph itself (degrees, sums of edge features) are made from what is
    left. Each part has as many pairs without a link as with one; in training, others are drawn in each epoch.

    A graph with the reverse of every edge has undirected links, one row for each. Self-loops are no links, and stay in the graph.

    Args:
        dataset: whose labels and splits are not used.
        ratios: shares of the links for training, validation and test.

    Raises:
        ValueError: if there are too few links, or too few pairs without one.
    """
    graph, num_nodes = dataset.graph, dataset.num_nodes
    src, dst = graph.src.long().numpy(), graph.dst.long().numpy()
    low, high = np.minimum(src, dst), np.maximum(src, dst)
    unit = low * num_nodes + high  # the same for both directions, so that they are never in two parts
    forward = np.unique((src * num_nodes + dst)[src != dst])
    backward = np.unique((dst * num_nodes + src)[src != dst])
    directed = not np.array_equal(forward, backward)
    units = np.unique(unit[src != dst])
    if len(units) < 10:
        raise ValueError(f"{dataset.name} has {len(units)} pairs of different nodes with an edge; links need 10 or more.")
    order = np.random.default_rng([split, _TAG]).permutation(len(units))
    ends = [round(ratios[0] * len(units)), round((ratios[0] + ratios[1]) * len(units))]
    part_of_unit = np.empty(len(units), np.int64)
    for part, chosen in enumerate(np.split(order, ends)):
        part_of_unit[chosen] = part
    positives = forward if directed else units
    links = np.stack([positives // num_nodes, positives % num_nodes])
    link_part = part_of_unit[np.searchsorted(units, links.min(axis=0) * num_nodes + links.max(axis=0))]

    hidden = units[part_of_unit > 0]
    kept = _keep_edges(graph, torch.from_numpy(~np.isin(unit, hidden)))
    source = NonLinks(num_nodes, torch.from_numpy(links), directed)
    others = source.draw(len(positives), np.random.default_rng([split, _TAG, 1])).numpy()
    pairs, parts = np.concatenate([links, others], axis=1), np.concatenate([link_part, link_part])
    y = torch.cat([torch.ones(len(positives), dtype=torch.int64), torch.zeros(len(positives), dtype=torch.int64)])
    made_from_graph = dataset.x is not None and torch.equal(dataset.x, default_node_features(graph))
    tables = None if dataset.tables is None else replace(dataset.tables, has_split=True)
    return replace(
        dataset,
        graph=kept,
        tables=tables,
        x=default_node_features(kept) if made_from_graph else dataset.x,
        y=y,
        task="binary",
        num_outputs=1,
        metric="rocauc",
        splits=(Split(*(torch.from_numpy(np.flatnonzero(parts == part)) for part in range(3))),),
        split_index=0,
        task_names=None,
        scale=None,
        trainable=True,
        pairs=Pairs(torch.from_numpy(pairs), draws_negatives=True, directed=directed),
    )


def _keep_edges(graph: Graph, keep: torch.Tensor) -> Graph:
    """Return the graph with the edges where `keep`, bool (E,), is True, in their order."""
    counts = torch.zeros(graph.num_nodes + 1, dtype=torch.int64)
    counts[1:] = torch.bincount(graph.dst.long()[keep], minlength=graph.num_nodes)
    edge_attr = None if graph.edge_attr is None else graph.edge_attr[keep]
    return Graph(counts.cumsum(0), graph.src[keep], edge_attr, edge_scale=graph.edge_scale, validate=False)
