"""Train on mini-batches of PyTorch Geometric's loaders: `RandomNodeLoader`, or `NeighborLoader` (which needs pyg-lib).

Each batch is a `Data`; `Graph.from_data` makes it a graph of ours, with its edge features.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch_geometric.data import Data
from torch_geometric.loader import NeighborLoader, RandomNodeLoader

from revgnn import Graph, ModelConfig, build_model
from revgnn.data import generate


def make_data() -> Data:
    """Return a generated graph as a `Data`."""
    data = generate(600, tasks=4)
    is_train = torch.zeros(data.num_nodes, dtype=torch.bool)
    is_train[data.split.train] = True
    return Data(
        x=data.x,
        edge_index=torch.stack([data.graph.src.long(), data.graph.dst.long()]),
        edge_attr=data.graph.edge_attr,
        y=data.y,
        train_mask=is_train,
    )


def make_loader(kind: str, data: Data) -> Iterable[Any]:
    """Return a loader of random parts, or of nodes with 10 neighbours, 10 neighbours of each of these, and so on."""
    if kind == "random":
        return RandomNodeLoader(data, num_parts=3, shuffle=True)
    return NeighborLoader(data, num_neighbors=[10, 10, 5], batch_size=128, input_nodes=data.train_mask, shuffle=True)


def main(kind: str = "random", epochs: int = 10) -> list[float]:
    """Return the mean loss of each epoch."""
    torch.manual_seed(0)
    data = make_data()
    loader = make_loader(kind, data)
    config = ModelConfig(depth=28, channels=32, groups=2, dropout=0.1)
    model = build_model(
        config, in_channels=data.num_features, out_channels=data.y.shape[1], num_edge_features=data.num_edge_features
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for epoch in range(epochs):
        total, count = 0.0, 0
        for batch in loader:
            # Of neighbours only the first nodes of a batch are predicted; the others are there to be seen.
            nodes = batch.train_mask.nonzero().squeeze(1) if kind == "random" else torch.arange(batch.batch_size)
            logits = model(Graph.from_data(batch), batch.x)
            loss = F.binary_cross_entropy_with_logits(logits[nodes], batch.y[nodes])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total, count = total + float(loss.detach()) * len(nodes), count + len(nodes)
        losses.append(total / count)
        print(f"epoch {epoch + 1}  loss {losses[-1]:.4f}")
    return losses


if __name__ == "__main__":
    main(*sys.argv[1:2])
