r"""Relaxation $a' = (1 - b)\, a + b f$ that can be taken back to the last bit.

In floating point the inverse $a = (a' - b f) / (1 - b)$ multiplies every rounding error by $1 / (1 - b)$, again and again. So
nothing is rounded: f is put on the grid of multiples of $2^{-32}$, b is a fraction $k / 2^s$, and each relaxation makes the grid
of the state finer by s bits, which float64 has room for. When the room is used up the lowest bits are cut off and put aside; the
inverse puts them back. (The bits that a contraction forgets have to be kept somewhere: Maclaurin, Duvenaud & Adams 2015,
arXiv:1502.03492, keep those of gradient descent with momentum.)
"""

from __future__ import annotations

import torch
from torch import Tensor

from revgnn.ops import grid

BITS = 32
"""f is rounded to multiples of 2^-32, which is finer than float32 itself for magnitudes of 2^-8 and more."""

ROOM = 12
"""Bits by which the grid of a state may become finer before they are cut off."""

LIMIT = grid.limit(torch.float64, BITS + ROOM)
"""Exact for magnitudes of f and of the state up to this: 512."""

FINEST = 64
"""b must be a multiple of 1 / 64."""


class ExactRelaxation:
    r"""$a' = (1 - b)\, a + b f$ on float64 states of any shape, exactly.

    Attributes:
        b: share of the new value.
        bits: s, what one relaxation adds to a state: 1 for b = 1/2, 2 for 1/4 and 3/4, ... 6 for odd multiples of 1/64.
        period: relaxations of a state until the bits that were added are cut off, as one int16 an element.
    """

    def __init__(self, b: float) -> None:
        if not 0.0 < b < 1.0:
            raise ValueError(
                f"the relaxation of a reversible solve must be above 0 and below 1, got {b}: a full step forgets the state it "
                "started from and cannot be taken back; choose 0.9375, or 0.5, for which the fewest bits have to be kept."
            )
        self.b = b
        self._share, self._whole = b.as_integer_ratio()
        if self._whole > FINEST:
            nearest = min(max(round(b * FINEST), 1), FINEST - 1) / FINEST
            raise ValueError(
                f"the relaxation of a reversible solve must be a multiple of 1/{FINEST}, so that products with it are exact; "
                f"got {b}, the nearest is {nearest}."
            )
        self.bits = self._whole.bit_length() - 1
        self.period = ROOM // self.bits
        self._finest = 2.0 ** (BITS + self.bits * self.period)

    def enter(self, z0: Tensor) -> Tensor:
        """A state that has not been relaxed yet, float64: `z0` rounded to the grid of f."""
        return grid.round_to_grid(z0.detach().double(), BITS)

    def advance(self, state: Tensor, f: Tensor, age: int, cut: list[Tensor]) -> Tensor:
        """(1 - b) state + b f, a new tensor.

        Args:
            state: float64, magnitudes up to `LIMIT`.
            f: same shape, float32 or float64, magnitudes up to `LIMIT`.
            age: how often the state has been relaxed.
            cut: what is cut off is appended here (int16).
        """
        if age and age % self.period == 0:
            coarse = grid.round_to_grid(state, BITS)
            cut.append((state - coarse).mul_(self._finest).to(torch.int16))
            state = coarse
        out = grid.round_to_grid(f.double(), BITS).mul_(self._share)
        return out.add_(state, alpha=self._whole - self._share).mul_(1.0 / self._whole)

    def retreat(self, state: Tensor, f: Tensor, age: int, cut: list[Tensor]) -> Tensor:
        """The state that `advance`, with the same f and age, made this one of: to the last bit. Takes from the end of `cut`."""
        before = (state * self._whole).sub_(grid.round_to_grid(f.double(), BITS), alpha=self._share)
        # A tensor, not a number: some devices multiply by the reciprocal of a number.
        before.div_(before.new_full((), self._whole - self._share))
        if age and age % self.period == 0:
            before.add_(cut.pop().double(), alpha=1.0 / self._finest)
        return before
