"""Train in PyTorch Lightning: the network is an ordinary module, and its `Graph` moves to the device by itself."""

from __future__ import annotations

from typing import Any

import lightning
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from revgnn import Graph, ModelConfig, build_model
from revgnn.data import NodeDataset, generate


class DeepGraphNetwork(lightning.LightningModule):
    """Node classification with several labels on one graph, a step an epoch."""

    def __init__(self, data: NodeDataset) -> None:
        super().__init__()
        self.model = build_model(
            ModelConfig(depth=28, channels=32, groups=2, dropout=0.1),
            in_channels=data.in_channels,
            out_channels=data.num_outputs,
            num_edge_features=data.num_edge_features,
            num_species=data.num_species,
        )
        self.losses: list[float] = []

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        logits = self.model(batch["graph"], batch["x"], batch["species"])
        loss = F.binary_cross_entropy_with_logits(logits[batch["train"]], batch["y"][batch["train"]])
        self.losses.append(float(loss.detach()))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=3e-3)

    def transfer_batch_to_device(self, batch: dict[str, Any], device: torch.device, dataloader_idx: int) -> dict[str, Any]:
        return {name: value.to(device) if isinstance(value, Tensor | Graph) else value for name, value in batch.items()}


def main(epochs: int = 10) -> list[float]:
    """Return the loss of each epoch."""
    torch.manual_seed(0)
    data = generate(600, tasks=4)
    batch = {"graph": data.graph, "x": data.x, "species": data.species, "y": data.y, "train": data.split.train}
    loader = DataLoader([batch], batch_size=None)  # type: ignore[arg-type] - a list is a data set
    module = DeepGraphNetwork(data)
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="auto",
        gradient_clip_val=1.0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader)
    print(f"loss {module.losses[0]:.4f} to {module.losses[-1]:.4f}")
    return module.losses


if __name__ == "__main__":
    main()
