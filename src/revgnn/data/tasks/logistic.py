"""What tasks have in common whose logits say yes or no, one by one: each is the log-odds of a Bernoulli variable."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from revgnn.data.tasks.base import AbstractTask


class LogisticTask(AbstractTask):
    """A task with one logit for each question of yes or no. Missing labels are NaN, or -1 among whole numbers."""

    def labelled(self, y: Tensor) -> Tensor:
        return ~y.isnan() if y.is_floating_point() else y >= 0

    def loss(self, logits: Tensor, y: Tensor, kind: str | None = None, weights: Tensor | None = None) -> Tensor:
        return logistic_loss(logits, y, self.labelled(y), weights)

    def loss_weight(self, y: Tensor, weights: Tensor | None = None) -> float:
        if weights is None:
            return super().loss_weight(y)
        rows = y.view(len(y), -1)
        weight = torch.where(rows == 1, weights[:, 1], weights[:, 0]).double()
        return float((weight * self.labelled(rows)).sum())

    def values(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def calibration_columns(self, logits: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor]]:
        logits = logits.double()
        columns = zip(*(t.view_as(logits).unbind(dim=1) for t in (logits, y, self.labelled(y))), strict=True)
        return [(z[rows], truth[rows].double()) for z, truth, rows in columns]

    def calibration_losses(self, logits: Tensor, truth: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits, truth, reduction="none")

    def confidence(self, logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        return logits.sigmoid(), truth

    def divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        # p log(p / q) + (1 - p) log((1 - p) / (1 - q)), with logarithms that neither overflow nor underflow
        p = teacher.sigmoid()
        positive = p * (F.logsigmoid(teacher) - F.logsigmoid(student))
        negative = (1 - p) * (F.logsigmoid(-teacher) - F.logsigmoid(-student))
        return (positive + negative).sum()


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
