"""The standard deviation of values that arrive a few rows at a time and are not stored."""

from __future__ import annotations

import torch
from torch import Tensor


class RunningDeviation:
    r"""Welford's recurrence (1962, Technometrics 4, 419), row by row. Memory does not grow with the number of values.

    With $n$ values so far and $\delta = x - \mu_{n-1}$: $\mu_n = \mu_{n-1} + \delta / n$, $S_n = S_{n-1} + \delta (x - \mu_n)$.
    Unlike a sum of squares it loses no digits if the values are close together and far from 0. Equal values have deviation 0
    exactly.

    Args:
        shape: (N, T), the shape of one value for all rows.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self._count = torch.zeros(shape[0], 1)
        self._mean = torch.zeros(shape)
        self._squares = torch.zeros(shape)

    def add(self, rows: Tensor | slice, values: Tensor) -> None:
        """Add one value for some rows.

        Args:
            rows: int64 (M,) without duplicates, or `slice(None)` for all rows.
            values: float32 (M, T), on the CPU.
        """
        self._count[rows] += 1
        delta = values - self._mean[rows]
        self._mean[rows] += delta / self._count[rows]
        self._squares[rows] += delta * (values - self._mean[rows])

    def deviation(self) -> Tensor:
        """Return the sample standard deviation, which divides by n - 1: float32 (N, T). NaN in rows with fewer than two values."""
        return (self._squares / (self._count - 1).clamp(min=0.0)).sqrt().where(self._count > 1, torch.nan)
