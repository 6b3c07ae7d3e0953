r"""Relaxation $a' = (1 - b)\, a + b f$ that can be undone to the last bit.

In floating point the inverse $a = (a' - b f) / (1 - b)$ multiplies every rounding error by $1 / (1 - b)$, in each step. So here
nothing is rounded: f is put on the grid of multiples of $2^{-32}$, b is a fraction $k / 2^s$, and each relaxation makes the grid of
the state finer by s bits, for which float64 has room. When the room is used up, the lowest bits are cut off and stored, and the
inverse adds them again. (Maclaurin, Duvenaud and Adams 2015, arXiv:1502.03492, store the bits that gradient descent with momentum
loses.)
"""

from __future__ import annotations

import torch
from torch import Tensor

from revgnn.ops import grid

BITS = 32
"""f is rounded to multiples of 2^-32, which is finer than float32 itself for magnitudes of 2^-8 and more."""

EXTRA_BITS = 12
"""Bits by which the grid of a state may become finer before they are cut off."""

LIMIT = grid.limit(torch.float64, BITS + EXTRA_BITS)
"""The largest magnitude of f and of the state for which the arithmetic is exact: 512."""

LARGEST_DENOMINATOR = 64
"""b must be a multiple of 1 / 64."""


class ExactRelaxation:
    r"""$a' = (1 - b)\, a + b f$ on float64 states of any shape, exactly.

    Attributes:
        b: share of the new value.
        bits: s, the bits that one relaxation adds to a state: 1 for b = 1/2, 2 for 1/4 and 3/4, ... 6 for odd multiples of 1/64.
        period: number of relaxations of a state after which the added bits are cut off, as one int16 for each element.
    """

    def __init__(self, b: float) -> None:
        if not 0.0 < b < 1.0:
            raise ValueError(
                f"the relaxation of a reversible solve must be above 0 and below 1, got {b}: a full step forgets the state it "
                "starts from and cannot be undone; choose 0.9375, or 0.5, for which the fewest bits have to be stored."
            )
        self.b = b
        self._numerator, self._denominator = b.as_integer_ratio()
        if self._denominator > LARGEST_DENOMINATOR:
            multiples = LARGEST_DENOMINATOR
            nearest = min(max(round(b * multiples), 1), multiples - 1) / multiples
            raise ValueError(
                f"the relaxation of a reversible solve must be a multiple of 1/{multiples}, so that products with it are exact; "
                f"got {b}, the nearest is {nearest}."
            )
        self.bits = self._denominator.bit_length() - 1
        self.period = EXTRA_BITS // self.bits
        self._cut_scale = 2.0 ** (BITS + self.bits * self.period)

    def start(self, z0: Tensor) -> Tensor:
        """Return a state that has not been relaxed yet: `z0` in float64, rounded to the grid of f."""
        return grid.round_to_grid(z0.detach().double(), BITS)

    def advance(self, state: Tensor, f: Tensor, age: int, cut_bits: list[Tensor]) -> Tensor:
        """Return (1 - b) state + b f, a new tensor.

        Args:
            state: float64, magnitudes up to `LIMIT`.
            f: same shape, float32 or float64, magnitudes up to `LIMIT`.
            age: how often the state has been relaxed.
            cut_bits: if bits are cut off, they are appended here (int16).
        """
        if age and age % self.period == 0:
            coarse = grid.round_to_grid(state, BITS)
            cut_bits.append((state - coarse).mul_(self._cut_scale).to(torch.int16))
            state = coarse
        out = grid.round_to_grid(f.double(), BITS).mul_(self._numerator)
        return out.add_(state, alpha=self._denominator - self._numerator).mul_(1.0 / self._denominator)

    def retreat(self, state: Tensor, f: Tensor, age: int, cut_bits: list[Tensor]) -> Tensor:
        """Return the state from which `advance`, with the same f and age, made this one, to the last bit.

        Args:
            cut_bits: what `advance` has cut off; the last element is removed if it is used.
        """
        before = (state * self._denominator).sub_(grid.round_to_grid(f.double(), BITS), alpha=self._numerator)
        # By a tensor, not a number: some devices multiply by the reciprocal of a number.
        before.div_(before.new_full((), self._denominator - self._numerator))
        if age and age % self.period == 0:
            before.add_(cut_bits.pop().double(), alpha=1.0 / self._cut_scale)
        return before
