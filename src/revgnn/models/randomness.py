"""The random numbers that the blocks of a stack share in one training step: a dropout mask, skipped layers, and removed edges."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from revgnn.models.config import GATConfig, StackConfig
from revgnn.ops.dropout import bernoulli_rows, current, dropout
from revgnn.stack import PerGroup, PerLayer, Stack
from revgnn.stack.stack import is_recorded


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


def draw_layer_factors(depth: int, rate: float) -> tuple[float, ...]:
    r"""Draw which layers a training step skips (stochastic depth, Huang et al. 2016, arXiv:1603.09382), as factors of their blocks.

    Layer $l = 1 \ldots L$ is skipped with probability $p_l = \mathrm{rate}\, l / L$: its factor is 0. The factor of the others is
    $1 / (1 - p_l)$, so that a block adds to the state on average what it adds in evaluation, where no layer is skipped.

    Deviation from the paper, which multiplies blocks by $1 - p_l$ in evaluation instead: here evaluation, and whatever reads the
    weights of a run, need not know the rate.
    """
    rates = [rate * layer / depth for layer in range(1, depth + 1)]
    kept = torch.rand(depth, dtype=torch.float64, device="cpu") >= torch.tensor(rates, dtype=torch.float64, device="cpu")
    return tuple(1.0 / (1.0 - p) if is_kept else 0.0 for p, is_kept in zip(rates, kept.tolist(), strict=True))


def draw_step_randomness(config: StackConfig, stack: Stack, h: Tensor, mask: Tensor | None, *, training: bool) -> dict[str, Any]:
    """Return keyword arguments for `stack(h, ...)`, drawn from torch's default generator; in evaluation only a given mask.

    `mask`, one dropout mask for all layers, cut by groups: (N, D / G) each: the given one, or drawn; drawn only with
    `shared_dropout` and a rate above 0.

    `layer_factors`, see `draw_layer_factors`; only with stochastic depth.

    `edge_seed`, a seed per layer; only with edge dropout. The groups of a layer remove the same edges. Removing them again
    in the backward pass takes 8 bytes per layer, not a permutation.

    Args:
        h: (N, D), the state the stack begins with.
        mask: (N, D), given by the caller, or None.

    Raises:
        RuntimeError: for stochastic depth in training mode while a tracer or exporter records, which would repeat one choice.
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
    if config.stochastic_depth:
        if is_recorded():
            raise RuntimeError(
                "a recorded network would skip the same layers in each call (stochastic depth); call model.eval() first."
            )
        shared["layer_factors"] = draw_layer_factors(len(stack.sequence), config.stochastic_depth)
    if _edge_dropout(config):
        shared["edge_seed"] = PerLayer(torch.randint(2**62, (len(stack.sequence),)).unbind())
    return shared


def capture_obstacle(config: StackConfig, *, training: bool) -> str | None:
    """Return why a training step cannot be captured as a CUDA graph: what it draws on the host. None if it can."""
    if training and config.stochastic_depth:
        return "stochastic_depth cannot be recorded in a CUDA graph: a replay would skip the same layers in each step."
    if training and _edge_dropout(config):
        return "edge_dropout cannot be recorded in a CUDA graph: its seeds are numbers of the host, which a replay would repeat."
    return None


def _edge_dropout(config: StackConfig) -> float:
    """Return the rate of edge dropout, which only attention has."""
    return config.convolution.edge_dropout if isinstance(config.convolution, GATConfig) else 0.0
