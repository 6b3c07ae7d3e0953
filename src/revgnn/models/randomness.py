"""The random numbers that the blocks of a stack share in one training step: a dropout mask, and edges left out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from revgnn.models.config import StackConfig
from revgnn.nn import shared_dropout_mask
from revgnn.stack import PerGroup, PerLayer, Stack, refuse_recording


def draw_step_randomness(config: StackConfig, stack: Stack, h: Tensor, *, training: bool) -> dict[str, Any]:
    """Return keyword arguments for `stack(h, ...)`, drawn from torch's default generator; none in evaluation.

    `mask`, one dropout mask for all layers, cut by groups: (N, D / G) each; only with `shared_dropout` and a rate above 0.

    `edge_seed`, a seed per layer; only with edge dropout. The groups of a layer leave out the same edges. Leaving them out again
    in the backward pass takes 8 bytes per layer, not a permutation.

    Args:
        h: (N, D), the state the stack begins with.
    """
    if not training:
        return {}
    shared: dict[str, Any] = {}
    if config.shared_dropout and config.dropout:
        shape = (h.shape[0], h.shape[1] // stack.groups)
        shared["mask"] = PerGroup([shared_dropout_mask(shape, config.dropout, h.device) for _ in range(stack.groups)])
    if config.edge_dropout:
        refuse_recording("edge_dropout", "its seeds are numbers of the host, which a replay would repeat")
        shared["edge_seed"] = PerLayer(torch.randint(2**62, (len(stack.sequence),)).unbind())
    return shared


def edge_dropout_obstacle(config: StackConfig, *, training: bool) -> str | None:
    """Return why a training step with edge dropout cannot be captured as a CUDA graph; None without edge dropout."""
    if not (training and config.edge_dropout):
        return None
    return "edge_dropout cannot be recorded in a CUDA graph: its seeds are numbers of the host, which a replay would repeat."
