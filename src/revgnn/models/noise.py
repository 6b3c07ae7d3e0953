"""What the blocks of a stack are given in common in one training step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from revgnn.nn import shared_dropout_mask
from revgnn.stack import PerGroup, PerLayer, Stack, refuse_recording


def step_noise(stack: Stack, h: Tensor, *, dropout: float, edge_dropout: float) -> dict[str, Any]:
    """Keyword arguments for `stack(h, ...)`, drawn from torch's default generator; a rate of 0 draws nothing.

    Args:
        h: (N, D), the state the stack begins with.
        dropout: rate of one mask for all layers, cut by groups: `mask`, (N, D / groups) each.
        edge_dropout: where it is not 0, a seed a layer: `edge_seed`. The groups of a layer leave out the same edges, and to
            leave them out again takes 8 bytes a layer, not a permutation.
    """
    noise: dict[str, Any] = {}
    if dropout:
        shape = (h.shape[0], h.shape[1] // stack.groups)
        noise["mask"] = PerGroup([shared_dropout_mask(shape, dropout, h.device) for _ in range(stack.groups)])
    if edge_dropout:
        refuse_recording("edge_dropout", "its seeds are numbers of the host, which a replay would repeat")
        noise["edge_seed"] = PerLayer(torch.randint(2**62, (len(stack.sequence),)).unbind())
    return noise
