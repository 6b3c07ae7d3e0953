"""The random numbers that the blocks of a stack share in one training step: a dropout mask, and removed edges."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from revgnn.models.config import GATConfig, StackConfig
from revgnn.ops.dropout import bernoulli_rows, current, dropout
from revgnn.stack import PerGroup, PerLayer, Stack


def shared_dropout_mask(shape: tuple[int, ...], rate: float, device: torch.device | None = None) -> Tensor:
    r"""Draw factors 0 or $1 / (1 - \mathrm{rate})$, float32: one mask for all layers of a step (Li et al. 2021, arXiv:2106.07476).

    It costs N x D once, where a mask for each layer would have to be stored, or drawn again.
    """
    keep = 1.0 - rate
    if _draws_rows():
        return bernoulli_rows(shape, keep, device).div_(keep)
    return torch.empty(shape, device=device).bernoulli_(keep).div_(keep)


def outer_dropout(x: Tensor, rate: float, training: bool) -> Tensor:
    """Return dropout of the state outside of a stack, (N, D); see `revgnn.ops.dropout.rows_of_larger`."""
    return dropout(x, rate, training) if _draws_rows() else F.dropout(x, rate, training)


def _draws_rows() -> bool:
    return not torch.compiler.is_compiling() and current.rows is not None


def check_mask(mask: Tensor | None, h: Tensor) -> None:
    """Raise `ValueError` for a given dropout mask that does not have the shape (N, D) of the state `h`."""
    if mask is not None and mask.shape != h.shape:
        raise ValueError(
            f"mask must have the shape of the node state, {tuple(h.shape)}, got {tuple(mask.shape)}; draw it by "
            f"shared_dropout_mask({tuple(h.shape)}, rate)."
        )


def draw_step_randomness(config: StackConfig, stack: Stack, h: Tensor, mask: Tensor | None, *, training: bool) -> dict[str, Any]:
    """Return keyword arguments for `stack(h, ...)`, drawn from torch's default generator; in evaluation only a given mask.

    `mask`, one dropout mask for all layers, cut by groups: (N, D / G) each: the given one, or drawn; drawn only with
    `shared_dropout` and a rate above 0.

    `edge_seed`, a seed per layer; only with edge dropout. The groups of a layer remove the same edges. Removing them again
    in the backward pass takes 8 bytes per layer, not a permutation.

    Args:
        h: (N, D), the state the stack begins with.
        mask: (N, D), given by the caller, or None.
    """
    check_mask(mask, h)
    shared: dict[str, Any] = {}
    if mask is not None:
        shared["mask"] = PerGroup(part.contiguous() for part in mask.chunk(stack.groups, dim=1))
    if not training:
        return shared
    if mask is None and config.shared_dropout and config.dropout:
        shape = (h.shape[0], h.shape[1] // stack.groups)
        shared["mask"] = PerGroup([shared_dropout_mask(shape, config.dropout, h.device) for _ in range(stack.groups)])
    if _edge_dropout(config):
        shared["edge_seed"] = PerLayer(torch.randint(2**62, (len(stack.sequence),)).unbind())
    return shared


def edge_dropout_obstacle(config: StackConfig, *, training: bool) -> str | None:
    """Return why a training step with edge dropout cannot be captured as a CUDA graph; None without edge dropout."""
    if not (training and _edge_dropout(config)):
        return None
    return "edge_dropout cannot be recorded in a CUDA graph: its seeds are numbers of the host, which a replay would repeat."


def _edge_dropout(config: StackConfig) -> float:
    """Return the rate of edge dropout, which only attention has."""
    return config.convolution.edge_dropout if isinstance(config.convolution, GATConfig) else 0.0
