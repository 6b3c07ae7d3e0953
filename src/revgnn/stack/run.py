"""`run_stack`: layers, a state, a strategy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from revgnn.ops import grid
from revgnn.stack.layer import AbstractLayer
from revgnn.stack.program import Program
from revgnn.stack.recordable import look_at_range, put_off
from revgnn.stack.replay import Conditions, buffer_versions
from revgnn.stack.shared import Shared
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
    """Carry a state through layers.

    Args:
        layers: in order; one that stands in several places is tied.
        x: (N, D), floating point, D a multiple of the layers' groups. Not changed; it may be used afterwards.
        args, kwargs: what every block is called with after its input: a graph, an edge_index, any tensor; gradients of
            these are returned too. `PerGroup` values are given to their group only, `PerLayer` values to their layer.
        gradient: how to differentiate. The value is the same for all strategies.
        bits: keep the state on the grid of multiples of 2^-bits; None: plain sums.
        dtype: dtype of the state: float32 or float64. Default: that of `x`, at least float32.
        conditions: run under these, instead of those of now.

    Returns:
        (N, D), dtype of `x`, at least float32.

    Raises:
        ValueError: if shapes do not fit, or a block does not keep its input's shape.
        StateRangeError: if the state leaves the range of its grid (looked at once, at the end, where gradients are wanted; within
            `recordable()` by whoever runs the step).
    """
    compute = torch.promote_types(x.dtype, torch.float32)
    dtype = torch.promote_types(compute, dtype or compute)
    groups = layers[0].groups
    if x.dim() != 2 or x.shape[1] % groups:
        raise ValueError(f"the state must have shape (N, D) with D a multiple of the {groups} groups, got {tuple(x.shape)}.")
    compiling = torch.compiler.is_compiling()
    if conditions is None and not compiling:
        conditions = Conditions.now(x.device)
    shared = Shared(args, kwargs, groups, len(layers))
    program = Program(list(layers), shared, conditions, bits, compute, dtype)
    state = grid.round_to_grid(x.to(dtype), bits)
    if conditions is None:
        return gradient.run(program, state).to(compute)

    before = buffer_versions(layers) if gradient.recomputes else []
    with conditions.own_random_state():
        out = gradient.run(program, state)
    if gradient.recomputes and torch.is_grad_enabled():
        _refuse_changed_buffers(layers, before)
    if bits is not None and torch.is_grad_enabled() and x.numel():
        peak = torch.linalg.vector_norm(state.detach(), torch.inf)
        peak = peak if program.peak is None else torch.maximum(peak, program.peak)
        checks = put_off()
        if checks is None:
            look_at_range(float(peak), bits, dtype)
        else:
            checks.add(peak, bits, dtype)
    return out.to(compute)


def _refuse_changed_buffers(layers: Sequence[AbstractLayer], before: list[tuple[Tensor, int]]) -> None:
    known = {id(buffer): version for buffer, version in before}
    changed = {id(buffer) for buffer, version in buffer_versions(layers) if known.get(id(buffer)) != version}
    if changed:
        named = nn.ModuleList(dict.fromkeys(layers)).named_buffers()
        name = next(name for name, buffer in named if id(buffer) in changed)
        raise ValueError(
            f"a block changes its buffer {name!r} when it is evaluated, so a second evaluation gives other values "
            "(batch norm is taken care of); choose gradient=Backprop(), which evaluates once."
        )
