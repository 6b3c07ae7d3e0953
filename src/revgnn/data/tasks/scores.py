"""Scores of columns of yes and no: ROC-AUC as the Open Graph Benchmark computes it, average precision, accuracy and F1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

LARGER_IS_BETTER = {
    "rocauc": True,
    "accuracy": True,
    "f1": True,
    "f1_micro": True,
    "f1_macro": True,
    "ap": True,
    "hits@10": True,
    "hits@50": True,
    "hits@100": True,
    "mae": False,
    "rmse": False,
    "r2": True,
}
"""Every score by its name, and whether a larger one is better."""


class MetricError(ValueError):
    """A score that is not defined for these labels or logits."""


def is_better(metric: str, score: float, best: float | None) -> bool:
    """Return whether a score is better than the best one so far; True if there is none."""
    return best is None or (score > best if LARGER_IS_BETTER[metric] else score < best)


def score_columns(metric: str, logits: Tensor, y: Tensor, known: Tensor, thresholds: Sequence[float] | None) -> float:
    """Return a score of T columns of yes and no; all arguments are (M, T).

    Args:
        thresholds: of probabilities, for `f1_micro` and `f1_macro`: one for each column; None: one half.
    """
    match metric:
        case "rocauc" | "ap":
            return _ranking(metric, logits, y, known)
        case "accuracy":
            return _accuracy(logits, y, known)
        case "f1":
            return _f1_micro(logits > 0, y, known)
        case "hits@10" | "hits@50" | "hits@100":
            columns_with_both_classes(y, known)
            return _hits(int(metric.removeprefix("hits@")), logits[known], y[known])
    limits = [0.5] * logits.shape[1] if thresholds is None else thresholds
    predicted = logits.float().sigmoid().double() > torch.tensor(limits, dtype=torch.float64)
    return _f1_micro(predicted, y, known) if metric == "f1_micro" else _f1_macro(predicted, y, known)


def columns_with_both_classes(y: Tensor, known: Tensor) -> list[int]:
    """Return the columns with labels of both classes, or raise `MetricError` if there is none."""
    tasks = (((y == 1) & known).any(dim=0) & ((y == 0) & known).any(dim=0)).nonzero().flatten().tolist()
    if not tasks:
        which = "the one task" if y.shape[1] == 1 else f"each of the {y.shape[1]} tasks"
        raise MetricError(f"ROC-AUC needs nodes of both classes, and {which} has labels of one class only.")
    return tasks


def best_thresholds(metric: str, logits: Tensor, y: Tensor, known: Tensor) -> tuple[float, ...]:
    """Return the thresholds of probabilities with the largest F1 of the labelled entries; all arguments are (M, T).

    For `f1_macro` each column has its own; for `f1_micro` all columns share one. A threshold lies halfway between two
    probabilities that occur. Without a positive label it is one half.
    """
    p, truth = logits.float().sigmoid().double(), y == 1
    if metric == "f1_micro":
        return (_best_threshold(p[known].numpy(), truth[known].numpy()),) * logits.shape[1]
    columns = range(logits.shape[1])
    return tuple(_best_threshold(p[known[:, t], t].numpy(), truth[known[:, t], t].numpy()) for t in columns)


def _best_threshold(p: np.ndarray, truth: np.ndarray) -> float:
    if not truth.any():
        return 0.5
    order = np.argsort(-p, kind="stable")
    p, truth = p[order], truth[order]
    last = np.flatnonzero(np.append(p[1:] != p[:-1], True))  # the last of each group of equal probabilities
    f1 = 2 * np.cumsum(truth)[last] / (last + 1 + truth.sum())
    best = last[int(f1.argmax())]
    return float((p[best] + (p[best + 1] if best + 1 < len(p) else 0.0)) / 2)


def _ranking(metric: str, logits: Tensor, y: Tensor, known: Tensor) -> float:
    """Return the mean ROC-AUC or average precision over the columns with labels of both classes."""
    from sklearn.metrics import average_precision_score, roc_auc_score  # only here: it takes a moment to import

    function = roc_auc_score if metric == "rocauc" else average_precision_score
    areas = []
    for task in columns_with_both_classes(y, known):
        rows = known[:, task]
        areas.append(function(y[rows, task].numpy(), logits[rows, task].numpy()))
    return float(sum(areas) / len(areas))


def _hits(k: int, logits: Tensor, y: Tensor) -> float:
    """Return the share of yes whose logit is above the k-th largest of no, as OGB does; 1 if there are fewer than k of no."""
    yes, no = logits[y == 1], logits[y == 0]
    return float((yes > no.topk(k).values[-1]).double().mean()) if len(no) >= k else 1.0


def _accuracy(logits: Tensor, y: Tensor, known: Tensor) -> float:
    """Return the share of correct predictions, averaged over the columns with labels."""
    hits = ((logits > 0) == (y == 1)) & known
    counts = known.sum(dim=0)
    return float((hits.sum(dim=0)[counts > 0] / counts[counts > 0].double()).mean())


def _f1_micro(predicted: Tensor, y: Tensor, known: Tensor) -> float:
    """Return F1 of the true and false positives of all columns together; 0 without predicted or true positives."""
    predicted, positive = predicted & known, (y == 1) & known
    total = int(predicted.sum()) + int(positive.sum())
    return 2 * int((predicted & positive).sum()) / total if total else 0.0


def _f1_macro(predicted: Tensor, y: Tensor, known: Tensor) -> float:
    """Return the mean F1 of the columns with labels; 0 for a column without predicted or true positives."""
    predicted, positive = predicted & known, (y == 1) & known
    total = predicted.sum(dim=0) + positive.sum(dim=0)
    each = 2 * (predicted & positive).sum(dim=0).double() / total.clamp(min=1)
    return float(each[known.any(dim=0)].mean())
