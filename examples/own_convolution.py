"""Make a deep reversible network of any convolution: here PyTorch Geometric's `TransformerConv`, and one of your own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing, TransformerConv

from revgnn import PeakMemory, PreActivation, ReversibleStack


class DifferenceConv(MessagePassing):
    """What neighbours have more or less than the node itself, on average, mapped linearly."""

    def __init__(self, channels: int) -> None:
        super().__init__(aggr="mean")
        self.map = nn.Linear(channels, channels)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.map(self.propagate(edge_index, x=x))

    def message(self, x_i: Tensor, x_j: Tensor) -> Tensor:
        return x_j - x_i


class Network(nn.Module):
    """Encoder, reversible layers of two groups with a convolution each, head."""

    def __init__(self, features: int, classes: int, channels: int, depth: int) -> None:
        super().__init__()
        half = channels // 2
        blocks = [
            [PreActivation(TransformerConv(half, half)), PreActivation(DifferenceConv(half), channels=half)] for _ in range(depth)
        ]
        self.encoder = nn.Linear(features, channels)
        self.stack = ReversibleStack(blocks)
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.head(self.stack(self.encoder(x), edge_index).relu())


def main(epochs: int = 20, depth: int = 28) -> list[float]:
    """Return the loss of each epoch."""
    torch.manual_seed(0)
    y = torch.randint(0, 3, (300,))
    src, dst = torch.randint(0, 300, (2, 6000))
    edge_index = torch.stack([src, dst])[:, (y[src] == y[dst]) | (torch.rand(6000) < 0.2)]
    x = F.one_hot(y, 3) + torch.randn(300, 3)
    model = Network(3, 3, channels=32, depth=depth)
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=3e-3), []
    with PeakMemory() as memory:
        for epoch in range(epochs):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x, edge_index), y)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
            print(f"epoch {epoch + 1}  loss {losses[-1]:.4f}")
    print(f"{depth} layers, peak {memory.peak_bytes / 1e6:.1f} MB")
    return losses


if __name__ == "__main__":
    main()
