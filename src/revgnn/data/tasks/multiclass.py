"""One of several classes: y int64 (N,), -1 for unlabelled; logits (N, classes)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from revgnn.data.tasks.base import AbstractTask, check_logits, class_weight_numbers, describe_tensor
from revgnn.data.tasks.scores import MetricError

EPS = 1.0 - math.log(2.0)
"""Constant of the logarithmic loss. Its slope is 1 at a cross entropy of log 2, where the true class has probability 1/2."""


@dataclass(frozen=True)
class Multiclass(AbstractTask):
    """A softmax over the classes. Loss: cross entropy, or "log": log(EPS + cross entropy) - log(EPS) of each row.

    The logarithmic loss grows more slowly, so rows with a large error have less weight (Wang et al. 2021, arXiv:2103.13355).
    """

    name = "multiclass"
    metrics = ("accuracy", "f1", "f1_micro", "f1_macro")
    losses = ("cross_entropy", "log")

    def check(self, y: Tensor, num_rows: int, names: Sequence[str] | None, row: str) -> None:
        check_classes(y, num_rows)
        if self.num_outputs < 2:
            raise ValueError(f"a multiclass task needs num_outputs of 2 or more, got {self.num_outputs}.")
        check_class_numbers(y, self.num_outputs, row)

    def check_training(self, y: Tensor, names: Sequence[str] | None, row: str) -> None:
        check_not_constant(y, row)

    def labelled(self, y: Tensor) -> Tensor:
        return y >= 0

    def no_labels(self, num_rows: int) -> Tensor:
        return torch.full((num_rows,), -1, dtype=torch.int64)

    def describe(self) -> str:
        return f"{self.num_outputs} classes"

    def loss(self, logits: Tensor, y: Tensor, kind: str | None = None, weights: Tensor | None = None) -> Tensor:
        logits = logits.float()
        if kind == "log":
            each = F.cross_entropy(logits, y, ignore_index=-1, reduction="none")  # 0 for unlabelled rows, and so is their log term
            each = torch.log(EPS + each) - math.log(EPS)
            if weights is None:
                return each.sum() / (y >= 0).sum()
            weight = weights[y.clamp(min=0)] * (y >= 0)
            return (weight * each).sum() / weight.sum()
        return F.cross_entropy(logits, y, weight=weights, ignore_index=-1)

    def loss_weight(self, y: Tensor, weights: Tensor | None = None) -> float:
        return super().loss_weight(y) if weights is None else float(weights[y[y >= 0]].double().sum())

    def class_weights(self, given: str | Sequence[float], y: Tensor) -> Tensor:
        if not isinstance(given, str):
            return class_weight_numbers(given, self.num_outputs, "one for each class")
        return balanced_weights(y, self.num_outputs)

    def values(self, logits: Tensor) -> Tensor:
        return logits.softmax(dim=1)

    def columns(self, values: Mapping[str, np.ndarray], names: Sequence[Any], thresholds: Sequence[float] | None) -> dict[str, Any]:
        import pyarrow as pa  # only here: it takes a moment to import

        columns: dict[str, Any] = {"predicted": pa.array(list(names)).take(pa.array(values["values"].argmax(axis=1)))}
        for kind, array in values.items():
            columns |= {f"{PREFIX[kind]}_{name}": array[:, i] for i, name in enumerate(names)}
        return columns

    def score(self, metric: str, logits: Tensor, y: Tensor, thresholds: Sequence[float] | None = None) -> float:
        check_logits(logits)
        self.check_scorable(metric, y)
        known = self.labelled(y)
        predicted, truth = logits.argmax(dim=1)[known], y[known]
        if metric != "f1_macro":
            return float((predicted == truth).double().mean())  # with one label per row, micro-averaged F1 equals accuracy
        classes = torch.cat([predicted, truth]).unique()
        hits = torch.stack([((predicted == c) & (truth == c)).sum() for c in classes]).double()
        total = torch.stack([(predicted == c).sum() + (truth == c).sum() for c in classes])
        return float((2 * hits / total).mean())

    def check_scorable(self, metric: str, y: Tensor) -> None:
        if metric not in self.metrics:
            raise MetricError("ROC-AUC needs two classes or several labels, and this task is multiclass; use accuracy.")

    def calibration_columns(self, logits: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor]]:
        known = self.labelled(y)
        return [(logits.double()[known], y[known])]

    def calibration_losses(self, logits: Tensor, truth: Tensor) -> Tensor:
        return F.cross_entropy(logits, truth, reduction="none")

    def confidence(self, logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        confidence, predicted = self.values(logits).max(dim=1)
        return confidence, (predicted == truth).double()

    def divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        return F.kl_div(student.log_softmax(dim=1), teacher.log_softmax(dim=1), reduction="sum", log_target=True)

    @property
    def label_width(self) -> int:
        return self.num_outputs

    def label_rows(self, y: Tensor) -> Tensor:
        return one_hot_rows(y, self.num_outputs)

    def predicted_rows(self, logits: Tensor) -> Tensor:
        return logits.softmax(dim=1)


PREFIX = {"values": "probability", "spread": "spread", "calibrated": "calibrated"}
"""How the columns of each kind of values of a task of classes begin."""


def check_classes(y: Tensor, num_rows: int) -> None:
    """Raise `ValueError` unless `y` is int64 (num_rows,)."""
    if y.shape != (num_rows,) or y.dtype != torch.int64:
        raise ValueError(f"y must be int64 of shape ({num_rows},), got {describe_tensor(y)}.")


def check_class_numbers(y: Tensor, classes: int, row: str) -> None:
    """Raise `ValueError` if a label is no class."""
    bad = ((y < -1) | (y >= classes)).nonzero()
    if len(bad):
        raise ValueError(
            f"{row} {int(bad[0])} has label {int(y[bad[0]])}; with {classes} classes labels are 0 to {classes - 1}, "
            "or -1 for unlabelled."
        )


def check_not_constant(y: Tensor, row: str) -> None:
    """Raise `ValueError` if all labels are equal."""
    if bool((y == y[0]).all()):
        raise ValueError(f"every training {row} has label {int(y[0])}; a classifier needs {row}s of at least two classes.")


def balanced_weights(y: Tensor, classes: int) -> Tensor:
    """Return N / (classes * N_c) for each class c with N_c of the N labels, float32 (classes,), as scikit-learn does."""
    counts = torch.bincount(y[y >= 0], minlength=classes).double()
    if bool((counts == 0).any()):
        empty = int((counts == 0).nonzero()[0])
        raise ValueError(f"class_weights=balanced: class {empty} has no training node; give the {classes} weights as a list.")
    return (counts.sum() / (classes * counts)).float()


def one_hot_rows(y: Tensor, classes: int) -> Tensor:
    """Return one-hot classes, float32 (M, classes); 0 without a label."""
    known = y >= 0
    return F.one_hot(torch.where(known, y, 0), classes).float() * known.unsqueeze(1)
