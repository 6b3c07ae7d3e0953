"""How deep can a laptop go? Steps of ever deeper networks, in memory that grows by their weights alone."""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F

from revgnn import ModelConfig, PeakMemory, build_model, num_parameters
from revgnn.data import generate


def main(depths: tuple[int, ...] = (10, 100, 1000)) -> list[int]:
    """Return the peak memory of a training step at each depth, in bytes above weights and data, without their gradients."""
    torch.manual_seed(0)
    data = generate(600, tasks=4)
    peaks = []
    print(f"{'layers':>7} {'parameters':>11} {'seconds':>8} {'peak, MB':>9}")
    for depth in depths:
        model = build_model(
            ModelConfig(depth=depth, channels=32, groups=2, dropout=0.1),
            in_channels=data.in_channels,
            out_channels=data.num_outputs,
            num_edge_features=data.num_edge_features,
            num_species=data.num_species,
        )
        for parameter in model.parameters():  # their gradients are as large as the weights: they stand apart
            parameter.grad = torch.zeros_like(parameter)
        start = time.perf_counter()
        with PeakMemory() as memory:
            logits = model(data.graph, data.x, data.species)
            F.binary_cross_entropy_with_logits(logits, data.y).backward()
        seconds = time.perf_counter() - start
        gradients = 4 * num_parameters(model)
        peaks.append(memory.peak_bytes - gradients)
        print(f"{depth:7,} {num_parameters(model):11,} {seconds:8.2f} {peaks[-1] / 1e6:9.1f}")
    return peaks


if __name__ == "__main__":
    main()
