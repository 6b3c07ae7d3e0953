"""The state before reversible layers, computed from the state after them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from revgnn.ops import grid
from revgnn.stack.arguments import BlockArguments
from revgnn.stack.execution import Conditions, Execution, merge, split
from revgnn.stack.layers import AbstractLayer, AbstractReversibleLayer


def invert_layers(
    layers: Sequence[AbstractLayer],
    y: Tensor,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    bits: int | None,
    dtype: torch.dtype,
    conditions: Conditions,
    layer_factors: Sequence[float] | None = None,
) -> Tensor:
    """Return the state (N, D) before the layers; see `Stack.inverse`.

    Args:
        layers: in the order in which they were applied.
        y: the state (N, D) after them.
        args, kwargs: what every block is called with after its input.
        bits: q of the grid of the state, or None.
        dtype: dtype of the state.
        conditions: the conditions to run under.
        layer_factors: see `Stack.forward`.

    Raises:
        ValueError: for a layer without an inverse, or shapes that do not fit.
        StateRangeError: if a state on the way is outside the range of its grid, where sums are not exact.
    """
    for n, layer in enumerate(layers):
        if not isinstance(layer, AbstractReversibleLayer):
            raise ValueError(
                f"layer {n} ({type(layer).__name__}) has no inverse; build the stack of AdditiveCoupling layers (ReversibleStack)."
            )
    groups = layers[0].groups
    if y.dim() != 2 or y.shape[1] % groups:
        raise ValueError(f"the state must have shape (N, D) with D a multiple of the {groups} groups, got {tuple(y.shape)}.")
    compute_dtype = torch.promote_types(y.dtype, torch.float32)
    arguments = BlockArguments(args, dict(kwargs), groups, len(layers))
    execution = Execution(list(layers), groups, arguments, conditions, bits, compute_dtype, layer_factors)

    def reverse_step(n: int, i: int, x_new: Tensor, y: Tensor, _: Tensor) -> tuple[Tensor, None]:
        f = execution.evaluate(n, i, y, arguments)
        is_differentiated = torch.is_grad_enabled() and (x_new.requires_grad or f.requires_grad)
        x = x_new - grid.round_to_grid(f.to(x_new.dtype), bits) if is_differentiated else grid.retreat(x_new, f, bits)
        if bits is not None and x.numel():
            peaks.append(torch.linalg.vector_norm(x.detach(), torch.inf))
        return x, None

    with conditions.around_pass():
        after = grid.round_to_grid(y.to(dtype), bits)
        peaks = [torch.linalg.vector_norm(after.detach(), torch.inf)] if bits is not None and y.numel() else []
        state = split(after, groups)
        del after
        for n in reversed(execution.evaluated(0, len(layers))):
            layer = layers[n]
            assert isinstance(layer, AbstractReversibleLayer)
            # `reverse` also passes gradients on, where there are any: here there are none
            layer.reverse(state, list(state), partial(reverse_step, n))
    if bits is not None and peaks:
        conditions.host_access.check_range(torch.stack(peaks).amax(), bits, dtype)
    return merge(state).to(compute_dtype)
