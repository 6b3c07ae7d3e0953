"""Sums over a state that may be one piece of a larger one."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Totals:
    """What a solver measures of its state: here of a state that is whole.

    If several processes solve for one state, each of them has a piece of it; a subclass then measures all pieces together, so that
    all processes take the same steps.
    """

    def sums(self, values: Tensor) -> Tensor:
        """Return sums over the whole state, from those over the piece of this process."""
        return values

    def norms(self, values: Tensor) -> Tensor:
        """Return lengths of whole vectors, from those of the pieces of this process."""
        return values

    def largest(self, value: float) -> float:
        """Return the largest value of all pieces, from that of this process."""
        return value

    def count(self, elements: int) -> int:
        """Return the number of elements of the whole state, from that of the piece."""
        return elements

    def root_mean_square(self, x: Tensor) -> Tensor:
        """Return the root of the mean square over the whole state, a scalar of the dtype of its piece `x`."""
        return x.square().mean().sqrt()


WHOLE = Totals()
"""The state is whole."""


def squared_norms(values: Tensor) -> Tensor:
    """Return squares of lengths; infinite where a length is not a number, so that a sum shows it."""
    return torch.where(values.isnan(), math.inf, values.square())
