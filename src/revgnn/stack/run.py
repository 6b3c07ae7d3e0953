"""`run_stack`: carry a state through layers under a gradient strategy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from revgnn.ops import grid
from revgnn.stack.arguments import BlockArguments
from revgnn.stack.execution import Execution
from revgnn.stack.layers import AbstractLayer
from revgnn.stack.replay import Conditions, buffer_versions
from revgnn.stack.strategy import GradientStrategy


def run_stack(
    layers: Sequence[AbstractLayer],
    x: Tensor,
    *args: Any,
    gradient: GradientStrategy,
    bits: int | None = None,
    dtype: torch.dtype | None = None,
    conditions: Conditions | None = None,
    **kwargs: Any,
) -> Tensor:
    """Return the state after the layers.

    Args:
        layers: in order. A layer that stands in several places is tied.
        x: the state (N, D) before them, floating point, D a multiple of the number of groups. It is not changed, and may be used
            afterwards.
        args, kwargs: what every block is called with after its input: a graph, an edge_index, any tensor. Tensors in them that
            require a gradient get one. An element of a `PerGroup` goes to the blocks of its group, one of a `PerLayer` to those of
            its layer.
        gradient: how to differentiate. The value is the same for all strategies.
        bits: keep the state on the grid of multiples of 2^-bits; None: plain sums.
        dtype: dtype of the state: float32 or float64. Default: that of `x`, at least float32.
        conditions: the conditions to run under. Default: those of now.

    Returns:
        (N, D), dtype of `x`, at least float32.

    Raises:
        ValueError: if shapes do not fit, or a block does not keep its input's shape.
        StateRangeError: if the state leaves the range of its grid. It is checked once, at the end, if gradients are enabled;
            `conditions.host_access` decides when the result of the check is read.
    """
    compute_dtype = torch.promote_types(x.dtype, torch.float32)
    dtype = torch.promote_types(compute_dtype, dtype or compute_dtype)
    groups = layers[0].groups
    if x.dim() != 2 or x.shape[1] % groups:
        raise ValueError(f"the state must have shape (N, D) with D a multiple of the {groups} groups, got {tuple(x.shape)}.")
    if conditions is None and not torch.compiler.is_compiling():
        conditions = Conditions.now(x.device)
    arguments = BlockArguments(args, kwargs, groups, len(layers))
    execution = Execution(list(layers), groups, arguments, conditions, bits, compute_dtype)
    state = grid.round_to_grid(x.to(dtype), bits)
    if conditions is None:
        return gradient.run(execution, state).to(compute_dtype)

    before = buffer_versions(layers) if gradient.recomputes else []
    with conditions.around_pass():
        out = gradient.run(execution, state)
    if gradient.recomputes and torch.is_grad_enabled():
        _refuse_changed_buffers(layers, before)
    if bits is not None and torch.is_grad_enabled() and x.numel():
        peak = torch.linalg.vector_norm(state.detach(), torch.inf)
        peak = peak if execution.peak is None else torch.maximum(peak, execution.peak)
        conditions.host_access.check_range(peak, bits, dtype)
    return out.to(compute_dtype)


def _refuse_changed_buffers(layers: Sequence[AbstractLayer], before: list[tuple[Tensor, int]]) -> None:
    """Raise `ValueError` if a buffer does not have the version that it had before the forward pass."""
    known = {id(buffer): version for buffer, version in before}
    changed = {id(buffer) for buffer, version in buffer_versions(layers) if known.get(id(buffer)) != version}
    if changed:
        named = nn.ModuleList(dict.fromkeys(layers)).named_buffers()
        name = next(name for name, buffer in named if id(buffer) in changed)
        raise ValueError(
            f"a block changes its buffer {name!r} when it is evaluated, so a second evaluation would give other values "
            "(the statistics of batch norm are no problem); choose gradient=Backprop(), which evaluates each block once."
        )
