r"""The state of a reversible stack on an exact grid.

Floating point addition cannot be undone: $(x + f) - f$ is not $x$. Sums of multiples of $2^{-q}$ can, as long as they stay
below $2^{24-q}$ in float32 ($2^{53-q}$ in float64): they are exact. So `f` is rounded to the grid before it is added, and
the inverse subtracts the very same value.
"""

from __future__ import annotations

import torch
from torch import Tensor

from revgnn.kernels import backends
from revgnn.ops.grid import cpu, reference

MANTISSA = {torch.float32: 24, torch.float64: 53}


def limit(dtype: torch.dtype, bits: int) -> float:
    """Sums on the grid of `bits` are exact up to this magnitude."""
    return 2.0 ** (MANTISSA[dtype] - bits)


class _Straight(torch.autograd.Function):
    """Rounding whose gradient is the identity."""

    @staticmethod
    def forward(ctx, value: Tensor, bits: int) -> Tensor:
        return reference.round_to_grid(value, bits)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def round_to_grid(value: Tensor, bits: int | None) -> Tensor:
    """The nearest multiple of 2^-bits, ties to even; the gradient passes unchanged. `bits=None` returns the value itself."""
    return value if bits is None else _Straight.apply(value, bits)


def advance(state: Tensor, change: Tensor, bits: int | None) -> tuple[Tensor, Tensor]:
    """`state + round(change)` in a new tensor, and its largest magnitude (NaN if there is one) as a tensor of shape ().

    Args:
        state: float32 or float64, any shape.
        change: same shape, any floating point dtype.
        bits: q of the grid 2^-q, or None for plain addition.
    """
    out, peaks = _advance(state, change, bits, 1.0)
    return out, peaks.amax()


def retreat(state: Tensor, change: Tensor, bits: int | None) -> Tensor:
    """`state - round(change)` in a new tensor: undoes `advance` to the last bit, if `state` is on the grid and within its limit."""
    return _advance(state, change, bits, -1.0)[0]


def _advance(state: Tensor, change: Tensor, bits: int | None, sign: float) -> tuple[Tensor, Tensor]:
    """The sum, and magnitudes of it of which one is the largest."""
    if backends.choose(None, state.device) == "gpu" and state.is_contiguous() and change.is_contiguous() and state.numel():
        from revgnn.ops.grid import gpu

        return gpu.advance(state, change, bits, sign)
    change = change.to(state.dtype)
    if state.device.type == "cpu" and state.is_contiguous() and change.is_contiguous() and state.numel():
        return cpu.advance(state, change, bits, sign)
    return reference.advance(state, change, bits, sign)
