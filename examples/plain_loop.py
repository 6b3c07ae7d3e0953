"""Train a deep reversible network in a loop of your own: a `Graph`, a model and torch's optimiser are all it takes."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from revgnn import ModelConfig, build_model
from revgnn.data import generate


def main(epochs: int = 20, depth: int = 56) -> list[float]:
    """Return the loss of each epoch."""
    torch.manual_seed(0)
    data = generate(600, tasks=4)
    model = build_model(
        ModelConfig(depth=depth, channels=32, groups=2, dropout=0.1),
        in_channels=data.in_channels,
        out_channels=data.num_outputs,
        num_edge_features=data.num_edge_features,
        num_species=data.num_species,
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    train, losses = data.split.train, []
    for epoch in range(epochs):
        optimizer.zero_grad()
        logits = model(data.graph, data.x, data.species)
        loss = F.binary_cross_entropy_with_logits(logits[train], data.y[train])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        print(f"epoch {epoch + 1}  loss {losses[-1]:.4f}")
    return losses


if __name__ == "__main__":
    main()
