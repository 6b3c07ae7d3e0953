"""Teach a small network what a large one has learned: the teacher is a run, the student learns from its predictions."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch_geometric.data import Data

import revgnn


def make_data(num_nodes: int = 600, classes: int = 4) -> Data:
    """Return a graph whose edges mostly join nodes of one class, with noisy features and few labels to learn from."""
    draw = torch.Generator().manual_seed(0)
    y = torch.randint(0, classes, (num_nodes,), generator=draw)
    src, dst = torch.randint(0, num_nodes, (2, 20 * num_nodes), generator=draw)
    kept = (y[src] == y[dst]) | (torch.rand(len(src), generator=draw) < 0.15)
    x = torch.nn.functional.one_hot(y, classes) + torch.randn(num_nodes, classes, generator=draw)
    part = torch.randperm(num_nodes, generator=draw)
    masks = {name: torch.zeros(num_nodes, dtype=torch.bool) for name in ("train_mask", "val_mask", "test_mask")}
    for mask, nodes in zip(masks.values(), (part[:80], part[80:300], part[300:]), strict=True):
        mask[nodes] = True
    return Data(x=x, edge_index=torch.stack([src, dst])[:, kept], y=y, **masks)


def main(epochs: int = 40) -> dict[str, float]:
    """Return the test accuracy of the teacher, of a small network by itself, and of the same network as its student."""
    data = make_data()
    large = {"epochs": epochs, "device": "cpu", "model.depth": 14, "model.channels": 64, "optim.lr": 0.01, "seed": 0}
    small = {**large, "model.depth": 2, "model.channels": 16, "seed": 1}
    scores = {}
    with tempfile.TemporaryDirectory() as folder:
        teacher = revgnn.fit(data, preset="revgnn-7", settings=large, out=Path(folder) / "teacher")
        scores["teacher"] = teacher.evaluate()["test"]
        alone = revgnn.fit(data, preset="revgnn-7", settings=small)
        scores["alone"] = alone.evaluate()["test"]
        taught = {**small, "distillation.teacher": str(Path(folder) / "teacher"), "distillation.alpha": 0.9}
        student = revgnn.fit(data, preset="revgnn-7", settings=taught)
        scores["student"] = student.evaluate()["test"]
    for name, score in scores.items():
        print(f"{name:8} {score:.3f}")
    return scores


if __name__ == "__main__":
    main()
