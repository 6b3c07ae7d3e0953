"""Means and paired differences with intervals, and Holm's correction for several tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.stats import t as student

LEVEL = 0.95
"""Probability with which an interval covers the mean."""


@dataclass(frozen=True)
class Mean:
    r"""The mean of some values with a t interval: $\bar x \pm t_{n-1}\, s / \sqrt n$.

    Attributes:
        mean: of the values.
        std: their sample deviation; None for one value.
        low, high: the ends of the interval, which covers the mean of a normal distribution with probability `LEVEL`; None for one.
        n: how many values.
    """

    mean: float
    std: float | None
    low: float | None
    high: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Mean | None:
        """Return the mean of some values; None if there are none."""
        if not values:
            return None
        mean = fmean(values)
        if len(values) == 1:
            return cls(mean, None, None, None, 1)
        std = stdev(values)
        half = float(student.ppf((1 + LEVEL) / 2, len(values) - 1)) * std / math.sqrt(len(values))
        return cls(mean, std, mean - half, mean + half, len(values))

    def p_value(self) -> float | None:
        """Return the two-sided p-value of the hypothesis that the mean is 0; None for one value."""
        if self.std is None:
            return None
        if self.std == 0:
            return 1.0 if self.mean == 0 else 0.0
        return float(2 * student.sf(abs(self.mean) * math.sqrt(self.n) / self.std, self.n - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that hold for all tests together (Holm 1979, Scandinavian Journal of Statistics 6), in the same order.

    The smallest is multiplied by the number of tests, the next by one less, and so on; none is below one before it.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted
