"""One or several numbers: y float32 (N, T), NaN where it is missing; logits (N, T) in units of the training labels' deviation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from revgnn.data.tasks.base import AbstractTask, check_logits, describe_tensor
from revgnn.data.tasks.scores import MetricError


@dataclass(frozen=True)
class TargetScale:
    """How targets are scaled: (y - mean) / deviation, for each of the T targets."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def fit(cls, y: Tensor) -> TargetScale:
        """Return mean and deviation of the known targets (M, T), in float64. The deviation of a constant target is 1."""
        y = y.double()
        known = ~y.isnan()
        count = known.sum(dim=0).clamp(min=1)
        mean = y.nan_to_num(0.0).sum(dim=0) / count
        deviation = (((y - mean) ** 2).where(known, 0.0).sum(dim=0) / count).sqrt()
        # Equal numbers leave a rounding error.
        largest = y.abs().where(known, 0.0).amax(dim=0) if len(y) else torch.zeros(y.shape[1])
        deviation = deviation.where(deviation > 1e-9 * largest, 1.0)
        return cls(tuple(mean.tolist()), tuple(deviation.tolist()))

    def as_dict(self) -> dict[str, list[float]]:
        """Return the scale as JSON values."""
        return {"mean": list(self.mean), "deviation": list(self.deviation)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], num_outputs: int, where: str) -> TargetScale:
        """Return the scale that `as_dict` described; `where` names its origin.

        Raises:
            ValueError: if it is damaged.
        """
        parts = [values.get(name) if isinstance(values, Mapping) else None for name in ("mean", "deviation")]
        if not all(isinstance(p, list) and len(p) == num_outputs and all(_is_finite(v) for v in p) for p in parts):
            raise ValueError(f"{where} has no scale of {num_outputs} targets: got {values!r}.")
        mean, deviation = parts
        assert mean is not None
        assert deviation is not None
        if min(deviation) <= 0:
            raise ValueError(f"{where} has a scale of targets with deviations that are not positive: {deviation}.")
        return cls(tuple(mean), tuple(deviation))


@dataclass(frozen=True)
class Regression(AbstractTask):
    """Numbers. Losses: "mse", "l1", or "huber" (quadratic up to one deviation, linear beyond), in scaled units.

    Scores: mean absolute error, root of the mean squared error, and R^2, in the units of the labels; of several targets the mean.

    Attributes:
        scale: of the T targets; None: they are taken as they are.
    """

    scale: TargetScale | None = None

    name = "regression"
    metrics = ("mae", "rmse", "r2")
    losses = ("mse", "l1", "huber")
    value_name = "predictions"

    def check(self, y: Tensor, num_rows: int, names: Sequence[str] | None, row: str) -> None:
        if y.shape != (num_rows, self.num_outputs) or y.dtype != torch.float32 or self.num_outputs < 1:
            raise ValueError(f"y must be float32 of shape ({num_rows}, {self.num_outputs}), got {describe_tensor(y)}.")
        bad = y.isinf().nonzero()
        if len(bad):
            node, target = bad[0].tolist()
            raise ValueError(f"target {target} of {row} {node} is {float(y[node, target])}; it must be finite or NaN (missing).")
        if names is not None and len(names) != self.num_outputs:
            raise ValueError(f"{len(names)} task names for {self.num_outputs} targets.")

    def check_training(self, y: Tensor, names: Sequence[str] | None, row: str) -> str | None:
        known = ~y.isnan()
        low, high = y.where(known, torch.inf).amin(dim=0), y.where(known, -torch.inf).amax(dim=0)
        constant: list[int] = (low >= high).nonzero().flatten().tolist()
        if len(constant) == self.num_outputs:
            raise ValueError(f"every training {row} has the same target, {float(low[0]):g}, or none; there is nothing to learn.")
        if not constant:
            return None
        shown = ", ".join(names[t] if names else str(t) for t in constant[:5])
        return f"{len(constant)} of {self.num_outputs} targets have one value, or none, in training ({shown})."

    def labelled(self, y: Tensor) -> Tensor:
        return ~y.isnan()

    @property
    def needs_every_label(self) -> bool:
        return False

    def no_labels(self, num_rows: int) -> Tensor:
        return torch.full((num_rows, self.num_outputs), torch.nan)

    def encode(self, y: Tensor) -> Tensor:
        """Return the scaled targets, float32 (M, T)."""
        if self.scale is None:
            return y
        mean, deviation = (torch.tensor(v, dtype=torch.float64) for v in (self.scale.mean, self.scale.deviation))
        return ((y.double() - mean) / deviation).float()

    @property
    def default_names(self) -> Sequence[Any]:
        return ["target"] if self.num_outputs == 1 else range(self.num_outputs)

    def describe(self) -> str:
        return "1 number" if self.num_outputs == 1 else f"{self.num_outputs} numbers"

    def loss(self, logits: Tensor, y: Tensor, kind: str | None = None, weights: Tensor | None = None) -> Tensor:
        logits = logits.float()
        known = ~y.isnan()
        target = torch.where(known, y, 0.0)
        function = {"l1": F.l1_loss, "huber": F.huber_loss}.get(kind or "mse", F.mse_loss)
        return (function(logits, target, reduction="none") * known).sum() / known.sum()

    def values(self, logits: Tensor) -> Tensor:
        """Return predictions in the units of the labels, (M, T) of the dtype of `logits`."""
        if self.scale is None:
            return logits
        mean, deviation = (torch.tensor(v, dtype=torch.float64) for v in (self.scale.mean, self.scale.deviation))
        return (logits.double() * deviation + mean).to(logits.dtype)

    def columns(self, values: Mapping[str, np.ndarray], names: Sequence[Any], thresholds: Sequence[float] | None) -> dict[str, Any]:
        prefix = {"values": "predicted", "spread": "spread"}
        return {f"{prefix[kind]}_{name}": array[:, i] for kind, array in values.items() for i, name in enumerate(names)}

    def score(self, metric: str, logits: Tensor, y: Tensor, thresholds: Sequence[float] | None = None) -> float:
        check_logits(logits)
        predicted, truth, known = self.values(logits.double()), y.double(), self.labelled(y)
        each = [_SCORES[metric](predicted[k, t], truth[k, t]) for t, k in enumerate(known.T) if _is_scorable(metric, truth[k, t])]
        if not each:
            self.check_scorable(metric, y)
        return float(sum(each) / len(each))

    def check_scorable(self, metric: str, y: Tensor) -> None:
        if not any(_is_scorable(metric, y[k, t]) for t, k in enumerate(self.labelled(y).T)):
            raise MetricError(f"{metric} needs two different numbers, and no target has them.")


def _mae(predicted: Tensor, truth: Tensor) -> float:
    return float((predicted - truth).abs().mean())


def _rmse(predicted: Tensor, truth: Tensor) -> float:
    return float(((predicted - truth) ** 2).mean().sqrt())


def _r2(predicted: Tensor, truth: Tensor) -> float:
    return 1.0 - float(((predicted - truth) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())


_SCORES = {"mae": _mae, "rmse": _rmse, "r2": _r2}


def _is_scorable(metric: str, truth: Tensor) -> bool:
    return len(truth) > 0 and (metric != "r2" or bool((truth != truth[0]).any()))


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))
