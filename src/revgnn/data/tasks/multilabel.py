"""Several labels of yes and no: y float32 (N, T), 0 or 1, NaN for unlabelled; logits (N, T)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from revgnn.data.tasks.base import AbstractTask, check_logits, class_weight_numbers, describe_tensor
from revgnn.data.tasks.multiclass import PREFIX
from revgnn.data.tasks.scores import best_thresholds, columns_with_both_classes, score_columns


@dataclass(frozen=True)
class Multilabel(AbstractTask):
    """A logistic loss for each label."""

    name = "multilabel"
    metrics = ("rocauc", "f1", "f1_micro", "f1_macro", "ap")
    losses = ("cross_entropy",)

    def check(self, y: Tensor, num_rows: int, names: Sequence[str] | None, row: str) -> None:
        if y.shape != (num_rows, self.num_outputs) or y.dtype != torch.float32:
            raise ValueError(f"y must be float32 of shape ({num_rows}, {self.num_outputs}), got {describe_tensor(y)}.")
        bad = ((y != 0) & (y != 1) & ~y.isnan()).nonzero()
        if len(bad):
            node, task = bad[0].tolist()
            raise ValueError(f"label {task} of {row} {node} is {float(y[node, task])}; it must be 0, 1 or NaN (unlabelled).")
        if names is not None and len(names) != self.num_outputs:
            raise ValueError(f"{len(names)} task names for {self.num_outputs} labels.")

    def check_training(self, y: Tensor, names: Sequence[str] | None, row: str) -> str | None:
        constant: list[int] = (((y == 0).sum(0) == 0) | ((y == 1).sum(0) == 0)).nonzero().flatten().tolist()
        if not constant:
            return None
        named = [names[t] if names else str(t) for t in constant]
        shown = ", ".join(named[:5]) + (", ..." if len(named) > 5 else "")
        return f"{len(constant)} of {self.num_outputs} labels have one value in training ({shown})."

    def labelled(self, y: Tensor) -> Tensor:
        return ~y.isnan()

    @property
    def needs_every_label(self) -> bool:
        return False

    def no_labels(self, num_rows: int) -> Tensor:
        return torch.full((num_rows, self.num_outputs), torch.nan)

    def describe(self) -> str:
        return f"{self.num_outputs} labels"

    def loss(self, logits: Tensor, y: Tensor, kind: str | None = None, weights: Tensor | None = None) -> Tensor:
        return logistic_loss(logits, y, ~y.isnan(), weights)

    def class_weights(self, given: str | Sequence[float], y: Tensor) -> Tensor:
        """Return the weights of no and yes of each label, float32 (T, 2). Numbers are the weights of yes, beside 1 for no."""
        if not isinstance(given, str):
            yes = class_weight_numbers(given, self.num_outputs, "the weight of yes for each label")
            return torch.stack([torch.ones_like(yes), yes], dim=1)
        counts = torch.stack([(y == 0).sum(dim=0), (y == 1).sum(dim=0)], dim=1).double()
        # A label with one value in training has nothing to balance.
        weights = counts.sum(dim=1, keepdim=True) / (2 * counts.clamp(min=1))
        return weights.where((counts > 0).all(dim=1, keepdim=True), 1.0).float()

    def values(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def columns(self, values: Mapping[str, np.ndarray], names: Sequence[Any], thresholds: Sequence[float] | None) -> dict[str, Any]:
        predicted = values["values"] > np.array(0.5 if thresholds is None else list(thresholds))
        columns: dict[str, Any] = {f"predicted_{name}": predicted[:, i] for i, name in enumerate(names)}
        for kind, array in values.items():
            columns |= {f"{PREFIX[kind]}_{name}": array[:, i] for i, name in enumerate(names)}
        return columns

    def score(self, metric: str, logits: Tensor, y: Tensor, thresholds: Sequence[float] | None = None) -> float:
        check_logits(logits)
        return score_columns(metric, logits, y, self.labelled(y), thresholds)

    def check_scorable(self, metric: str, y: Tensor) -> None:
        if metric in ("rocauc", "ap"):
            columns_with_both_classes(y, self.labelled(y))

    def fit_thresholds(self, metric: str, logits: Tensor, y: Tensor) -> tuple[float, ...] | None:
        return best_thresholds(metric, logits, y, self.labelled(y)) if metric in ("f1_micro", "f1_macro") else None

    def calibration_columns(self, logits: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor]]:
        return calibration_columns(logits, y, self.labelled(y))

    def calibration_losses(self, logits: Tensor, truth: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, truth, reduction="none")

    def confidence(self, logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        return logits.sigmoid(), truth

    def divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        return logistic_divergence(student, teacher)

    @property
    def label_width(self) -> int:
        return self.num_outputs

    def label_rows(self, y: Tensor) -> Tensor:
        return torch.where(self.labelled(y), y, 0.0)

    def predicted_rows(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()


def logistic_loss(logits: Tensor, y: Tensor, known: Tensor, weights: Tensor | None) -> Tensor:
    """Return the mean logistic loss over the known entries, a scalar in float32.

    Args:
        logits: (M, T).
        y, known: labels and whether there is one, of the shape of `logits` or (M,).
        weights: (T, 2), of no and yes; the mean is then weighted.
    """
    logits = logits.float()
    known = known.view_as(logits)
    target = torch.where(known, y.view_as(logits), 0).float()
    # Weights instead of an index: the size of a selection depends on the data, and a GPU would have to wait for it.
    if weights is None:
        total = F.binary_cross_entropy_with_logits(logits, target, weight=known.float(), reduction="sum")
        return total / known.sum()
    weight = torch.where(target == 1, weights[:, 1], weights[:, 0]) * known
    return F.binary_cross_entropy_with_logits(logits, target, weight=weight, reduction="sum") / weight.sum()


def logistic_divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the sum of KL divergences of Bernoulli distributions, both outcomes included."""
    # p log(p / q) + (1 - p) log((1 - p) / (1 - q)), with logarithms that neither overflow nor underflow
    p = teacher.sigmoid()
    positive = p * (F.logsigmoid(teacher) - F.logsigmoid(student))
    negative = (1 - p) * (F.logsigmoid(-teacher) - F.logsigmoid(-student))
    return (positive + negative).sum()


def calibration_columns(logits: Tensor, y: Tensor, known: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return the labelled entries of each column: logits and labels, float64 (m,) each."""
    logits = logits.double()
    columns = zip(*(t.view_as(logits).unbind(dim=1) for t in (logits, y, known)), strict=True)
    return [(z[rows], truth[rows].double()) for z, truth, rows in columns]
