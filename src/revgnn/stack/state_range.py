"""The range in which sums on the grid of a state are exact, and the error for a state that has left it."""

from __future__ import annotations

import math

import torch

from revgnn.ops import grid


class StateRangeError(ArithmeticError):
    """The state has left the range in which sums on its grid are exact, or is not finite.

    Attributes:
        peak: the largest magnitude of the state.
        bits: q of its grid of multiples of 2^-q.
        needed: the largest q with room for `peak` and a factor of two to spare; None if `peak` is not finite.
    """

    def __init__(self, peak: float, bits: int, dtype: torch.dtype) -> None:
        self.peak = peak
        self.bits = bits
        self.needed = grid.MANTISSA[dtype] - 2 - math.floor(math.log2(peak)) if math.isfinite(peak) else None
        if self.needed is None:
            advice = "lower the learning rate, clip gradients, or look for values in the input that are not finite"
        else:
            advice = f"use a coarser grid (bits={self.needed}), state='float64', or a norm in each block"
        super().__init__(
            f"the state of the stack has reached a magnitude of {peak:.6g}, but sums on its grid of multiples of 2^-{bits} "
            f"are exact below {grid.limit(dtype, bits):.6g} only; {advice}."
        )


def check_range(peak: float, bits: int, dtype: torch.dtype) -> None:
    """Raise `StateRangeError` if sums on the grid of multiples of 2^-bits are not exact at magnitude `peak` in `dtype`."""
    if not peak <= grid.limit(dtype, bits):
        raise StateRangeError(peak, bits, dtype)
