"""Mean and standard deviation of values that come a few rows at a time and are not kept."""

from __future__ import annotations

import torch
from torch import Tensor


class RunningSpread:
    r"""Welford's recurrence (1962, Technometrics 4, 419) in each row by itself: two tensors, however many values there are.

    With $n$ values so far and $\delta = x - \mu_{n-1}$: $\mu_n = \mu_{n-1} + \delta / n$, $S_n = S_{n-1} + \delta (x - \mu_n)$.
    Unlike a sum of squares it loses no digits where the values are far from 0 and close together; equal values have
    deviation 0 exactly.

    Args:
        shape: (N, T), of what there will be a spread.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        self._count = torch.zeros(shape[0], 1)
        self._mean = torch.zeros(shape)
        self._squares = torch.zeros(shape)

    def add(self, rows: Tensor | None, values: Tensor) -> None:
        """Take in one value of some rows.

        Args:
            rows: int64 (M,), no row twice; None: all.
            values: float32 (M, T), on the CPU.
        """
        at = slice(None) if rows is None else rows
        self._count[at] += 1
        delta = values - self._mean[at]
        self._mean[at] += delta / self._count[at]
        self._squares[at] += delta * (values - self._mean[at])

    def deviation(self) -> Tensor:
        """float32 (N, T): the sample standard deviation, which divides by n - 1. NaN in rows with fewer than two values."""
        return (self._squares / (self._count - 1).clamp(min=0.0)).sqrt().where(self._count > 1, torch.nan)
