"""The optimiser and its learning rate."""

from __future__ import annotations

import math

import torch
from torch import nn

from revgnn.train.config import OptimConfig, RunConfig


def build_optimizer(config: OptimConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Return Adam in its fused form, which updates all parameters of a device in one pass, or RMSprop, which has no such form."""
    if config.name == "rmsprop":
        return torch.optim.RMSprop(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    return torch.optim.Adam(model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)


def learning_rate(config: RunConfig, epochs_done: float) -> float:
    """Return the learning rate of a step. It depends only on the configuration and on `epochs_done`.

    Args:
        epochs_done: epochs trained before this step, with a fraction within an epoch.
    """
    optim = config.optim
    rate = optim.lr
    if optim.schedule == "cosine":
        rate *= 0.5 * (1.0 + math.cos(math.pi * min(1.0, epochs_done / config.epochs)))
    if epochs_done < optim.warmup:
        rate *= (epochs_done * config.parts + 1) / (optim.warmup * config.parts)
    return rate
