"""Find the state at which a block gives back what it is given, instead of choosing a number of layers."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from revgnn import ModelConfig, build_model, num_parameters
from revgnn.data import generate


def main(epochs: int = 15) -> list[float]:
    """Return the loss of each epoch."""
    torch.manual_seed(0)
    data = generate(600, tasks=4)
    model = build_model(
        ModelConfig(family="equilibrium", channels=32, dropout=0.1),
        in_channels=data.in_channels,
        out_channels=data.num_outputs,
        num_edge_features=data.num_edge_features,
        num_species=data.num_species,
    )
    print(f"{num_parameters(model):,} parameters, those of one unit, at any depth")
    optimizer, train, losses = torch.optim.Adam(model.parameters(), lr=3e-3), data.split.train, []
    for epoch in range(epochs):
        optimizer.zero_grad()
        logits = model(data.graph, data.x, data.species)
        loss = F.binary_cross_entropy_with_logits(logits[train], data.y[train])
        loss.backward()  # implicit: a linear system at the equilibrium, no iteration is stored
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
        print(f"epoch {epoch + 1}  loss {losses[-1]:.4f}")
    return losses


if __name__ == "__main__":
    main()
