"""How node features are scaled: fitted on the nodes of one graph, and applied to others as to that one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

How = Literal["raw", "standard", "log", "rows"]
"""As `revgnn.train.config.Features`."""


@dataclass(frozen=True, eq=False)
class FeatureScale:
    """A scale of features.

    Attributes:
        how: "raw": as they are; "standard": mean 0 and deviation 1; "log": sign(x) log(1 + |x|), then standard; "rows": each node's
            sum to 1.
        mean, deviation: float32 (F,), of standard and log; deviation is 1 for constant columns.
    """

    how: How
    mean: Tensor | None = None
    deviation: Tensor | None = None

    @classmethod
    def fit(cls, x: Tensor, how: How) -> FeatureScale:
        """Return the scale of this kind for features (N, F)."""
        if how not in ("standard", "log"):
            return cls(how)
        x = _log(x) if how == "log" else x
        deviation, mean = torch.std_mean(x, dim=0, correction=0)
        return cls(how, mean, deviation.where(deviation > 1e-6 * x.abs().amax(dim=0), 1.0))

    def apply(self, x: Tensor) -> Tensor:
        """Return features (N, F) scaled. Columns that were constant become 0 where they still are; rows of zeros stay 0."""
        match self.how:
            case "raw":
                return x
            case "rows":
                total = x.sum(dim=1, keepdim=True)
                return x / total.where(total != 0, 1.0)
            case "log":
                x = _log(x)
        assert self.mean is not None
        assert self.deviation is not None
        return (x - self.mean) / self.deviation

    def tensors(self) -> dict[str, Tensor]:
        """Return what was fitted, by name."""
        return {} if self.mean is None or self.deviation is None else {"mean": self.mean, "deviation": self.deviation}

    @classmethod
    def from_tensors(cls, how: How, tensors: Mapping[str, Tensor]) -> FeatureScale:
        """Return the scale whose `tensors` these are."""
        return cls(how, tensors.get("mean"), tensors.get("deviation"))


def _log(x: Tensor) -> Tensor:
    return x.sign() * x.abs().log1p()
