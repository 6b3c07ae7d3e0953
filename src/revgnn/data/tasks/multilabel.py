"""Several labels of yes and no: y float32 (N, T), 0 or 1, NaN for unlabelled; logits (N, T)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from revgnn.data.tasks.base import check_logits, class_weight_numbers, describe_tensor
from revgnn.data.tasks.logistic import LogisticTask
from revgnn.data.tasks.multiclass import PREFIX
from revgnn.data.tasks.scores import best_thresholds, columns_with_both_classes, score_columns


@dataclass(frozen=True)
class Multilabel(LogisticTask):
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

    @property
    def needs_every_label(self) -> bool:
        return False

    def no_labels(self, num_rows: int) -> Tensor:
        return torch.full((num_rows, self.num_outputs), torch.nan)

    def describe(self) -> str:
        return f"{self.num_outputs} labels"

    def class_weights(self, given: str | Sequence[float], y: Tensor) -> Tensor:
        """Return the weights of no and yes of each label, float32 (T, 2). Numbers are the weights of yes, beside 1 for no."""
        if not isinstance(given, str):
            yes = class_weight_numbers(given, self.num_outputs, "the weight of yes for each label")
            return torch.stack([torch.ones_like(yes), yes], dim=1)
        counts = torch.stack([(y == 0).sum(dim=0), (y == 1).sum(dim=0)], dim=1).double()
        # A label with one value in training has nothing to balance.
        weights = counts.sum(dim=1, keepdim=True) / (2 * counts.clamp(min=1))
        return weights.where((counts > 0).all(dim=1, keepdim=True), 1.0).float()

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

    @property
    def label_width(self) -> int:
        return self.num_outputs

    def label_rows(self, y: Tensor) -> Tensor:
        return torch.where(self.labelled(y), y, 0.0)

    def predicted_rows(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()
