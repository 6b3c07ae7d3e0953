"""Node features made from a graph, for data sets without node features of their own."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from revgnn.graph import Graph, edge_storage

_BLOCK_EDGES = 1 << 20


def default_node_features(graph: Graph) -> Tensor:
    """Return float32, (N, F): `sum_of_incoming_edge_features`, or log(1 + in-degree) for a graph without edge features."""
    if graph.edge_attr is not None:
        return sum_of_incoming_edge_features(graph)
    return graph.in_degree.to(torch.float32).log1p().unsqueeze(1)


def sum_of_incoming_edge_features(graph: Graph) -> Tensor:
    """Return float32, (N, K): for each node the sum of the features of the edges into it, 0 for a node without edges.

    These are the node features of ogbn-proteins in the paper (arXiv:2106.07476). int16 features are decoded block by block.
    """
    assert graph.edge_attr is not None
    out = torch.zeros(graph.num_nodes, graph.num_edge_features)
    starts = torch.searchsorted(graph.indptr, torch.arange(0, graph.num_edges, _BLOCK_EDGES)).tolist()
    for start, stop in itertools.pairwise([*starts, graph.num_nodes]):
        if start < stop:
            offsets = graph.indptr[start : stop + 1]
            rows = graph.edge_attr[offsets[0] : offsets[-1]]
            features = edge_storage.decode(rows, graph.edge_scale, torch.float32)
            out[start:stop] = torch.segment_reduce(features, "sum", offsets=offsets - offsets[0], axis=0, initial=0.0)
    return out
