"""What `round_to_grid` and `advance` mean, in plain torch."""

from __future__ import annotations

import math

from torch import Tensor


def round_to_grid(value: Tensor, bits: int | None) -> Tensor:
    """Return the nearest multiple of 2^-bits, ties to even, or the value itself if `bits` is None."""
    if bits is None:
        return value
    return value.mul(math.ldexp(1.0, bits)).round_().mul_(math.ldexp(1.0, -bits))


def advance(state: Tensor, change: Tensor, bits: int | None, sign: float) -> tuple[Tensor, Tensor]:
    """Return `state + sign * round(change)`, and its largest magnitude, ()."""
    change = round_to_grid(change.to(state.dtype), bits)
    out = state.add(change, alpha=sign)
    return out, out.abs().amax() if out.numel() else out.new_zeros(())
