"""Yes or no: y int64 (N,), 0 or 1, -1 for unlabelled; logits (N, 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from revgnn.data.tasks.base import check_logits, class_weight_numbers
from revgnn.data.tasks.logistic import LogisticTask
from revgnn.data.tasks.multiclass import (
    PREFIX,
    balanced_weights,
    check_class_numbers,
    check_classes,
    check_not_constant,
    one_hot_rows,
)
from revgnn.data.tasks.scores import best_thresholds, columns_with_both_classes, score_columns


@dataclass(frozen=True)
class Binary(LogisticTask):
    """A logistic loss of one logit, that of yes (class 1)."""

    name = "binary"
    metrics = ("rocauc", "accuracy", "f1", "f1_micro", "f1_macro", "ap", "hits@10", "hits@50", "hits@100")
    losses = ("cross_entropy",)

    def check(self, y: Tensor, num_rows: int, names: Sequence[str] | None, row: str) -> None:
        check_classes(y, num_rows)
        if self.num_outputs != 1:
            raise ValueError(f"a binary task has num_outputs=1, got {self.num_outputs}.")
        check_class_numbers(y, 2, row)

    def check_training(self, y: Tensor, names: Sequence[str] | None, row: str) -> None:
        check_not_constant(y, row)

    def no_labels(self, num_rows: int) -> Tensor:
        return torch.full((num_rows,), -1, dtype=torch.int64)

    @property
    def default_names(self) -> Sequence[Any]:
        return range(2)

    def describe(self) -> str:
        return "binary"

    def class_weights(self, given: str | Sequence[float], y: Tensor) -> Tensor:
        """Return the weights of no and yes, float32 (1, 2)."""
        if not isinstance(given, str):
            return class_weight_numbers(given, 2, "of no and yes").unsqueeze(0)
        return balanced_weights(y, 2).unsqueeze(0)

    def columns(self, values: Mapping[str, np.ndarray], names: Sequence[Any], thresholds: Sequence[float] | None) -> dict[str, Any]:
        import pyarrow as pa  # only here: it takes a moment to import

        limit = 0.5 if thresholds is None else thresholds[0]
        predicted = (values["values"][:, 0] > np.float64(limit)).astype(np.int64)
        columns: dict[str, Any] = {"predicted": pa.array(list(names)).take(pa.array(predicted))}
        for kind, array in values.items():
            # Both classes have the same deviation.
            both = np.concatenate([array if kind == "spread" else 1 - array, array], axis=1)
            columns |= {f"{PREFIX[kind]}_{name}": both[:, i] for i, name in enumerate(names)}
        return columns

    def score(self, metric: str, logits: Tensor, y: Tensor, thresholds: Sequence[float] | None = None) -> float:
        check_logits(logits)
        return score_columns(metric, logits.reshape(-1, 1), y.reshape(-1, 1), self.labelled(y).reshape(-1, 1), thresholds)

    def check_scorable(self, metric: str, y: Tensor) -> None:
        if metric in ("rocauc", "ap") or metric.startswith("hits@"):
            columns_with_both_classes(y.reshape(-1, 1), self.labelled(y).reshape(-1, 1))

    def fit_thresholds(self, metric: str, logits: Tensor, y: Tensor) -> tuple[float, ...] | None:
        if metric not in ("f1_micro", "f1_macro"):
            return None
        return best_thresholds(metric, logits.reshape(-1, 1), y.reshape(-1, 1), self.labelled(y).reshape(-1, 1))

    @property
    def label_width(self) -> int:
        return 2

    def label_rows(self, y: Tensor) -> Tensor:
        return one_hot_rows(y, 2)

    def predicted_rows(self, logits: Tensor) -> Tensor:
        return torch.cat([torch.sigmoid(-logits), torch.sigmoid(logits)], dim=1)
