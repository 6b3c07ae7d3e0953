"""Rounding to a grid, in plain torch."""

from __future__ import annotations

import math

from torch import Tensor


def round_to_grid(value: Tensor, bits: int | None) -> Tensor:
    """The nearest multiple of 2^-bits (ties to even); the value as it is where `bits` is None."""
    if bits is None:
        return value
    return value.mul(math.ldexp(1.0, bits)).round_().mul_(math.ldexp(1.0, -bits))


def advance(state: Tensor, change: Tensor, bits: int | None, sign: float) -> tuple[Tensor, Tensor]:
    """`state + sign * round(change)`, and its largest magnitude as a tensor of shape ()."""
    change = round_to_grid(change.to(state.dtype), bits)
    out = state.add(change, alpha=sign)
    return out, out.abs().amax() if out.numel() else out.new_zeros(())
