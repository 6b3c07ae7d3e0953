"""Scores of logits against labels: ROC-AUC as the Open Graph Benchmark computes it, accuracy, and micro-averaged F1."""

from __future__ import annotations

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from revgnn.train.objective import labelled


class MetricError(ValueError):
    """A score that these labels do not define."""


def score(metric: str, task: str, logits: Tensor, y: Tensor) -> float:
    """The score of some nodes, between 0 and 1, higher is better.

    Args:
        metric: "rocauc", "accuracy" or "f1".
        task: "multiclass", "binary" or "multilabel".
        logits: float (M, outputs), finite, on the CPU.
        y: int64 (M,) with -1 for unlabelled, or float (M, T) with NaN for unlabelled.

    Raises:
        MetricError: if nothing is labelled, if no task has both classes (ROC-AUC), or if a logit is not finite.
    """
    if not bool(torch.isfinite(logits).all()):
        bad = int((~torch.isfinite(logits)).any(dim=1).nonzero()[0])
        raise MetricError(f"the logits of scored node {bad} are not finite; lower the learning rate, or use amp=none.")
    known = labelled(task, y)
    if not bool(known.any()):
        raise MetricError(f"none of the {len(y)} nodes to score has a label.")
    if task == "multiclass":
        if metric == "rocauc":
            raise MetricError("ROC-AUC needs two classes or several labels, and this task is multiclass; use accuracy.")
        hits = logits.argmax(dim=1)[known] == y[known]
        return float(hits.double().mean())  # for one label a node, micro-averaged F1 is the accuracy
    logits, y, known = (t.reshape(len(t), -1) for t in (logits, y, known))
    return _COLUMN_METRICS[metric](logits, y, known)


def check_scorable(metric: str, task: str, y: Tensor, name: str) -> None:
    """Refuse labels that `score` cannot score before any time is spent on training.

    Raises:
        MetricError: naming the split `name`.
    """
    known = labelled(task, y)
    try:
        if not bool(known.any()):
            raise MetricError(f"none of its {len(y)} nodes has a label.")
        if metric == "rocauc":
            _tasks_of_two_classes(*(t.reshape(len(t), -1) for t in (y, known)))
    except MetricError as error:
        raise MetricError(f"the {name} split cannot be scored: {error}") from None


def _tasks_of_two_classes(y: Tensor, known: Tensor) -> list[int]:
    tasks = (((y == 1) & known).any(dim=0) & ((y == 0) & known).any(dim=0)).nonzero().flatten().tolist()
    if not tasks:
        which = "the one task" if y.shape[1] == 1 else f"each of the {y.shape[1]} tasks"
        raise MetricError(f"ROC-AUC needs nodes of both classes, and {which} has labels of one class only.")
    return tasks


def _rocauc(logits: Tensor, y: Tensor, known: Tensor) -> float:
    """Mean over the tasks in which both classes occur, unlabelled entries left out."""
    areas = []
    for task in _tasks_of_two_classes(y, known):
        rows = known[:, task]
        areas.append(roc_auc_score(y[rows, task].numpy(), logits[rows, task].numpy()))
    return float(sum(areas) / len(areas))


def _accuracy(logits: Tensor, y: Tensor, known: Tensor) -> float:
    """Mean over the tasks that have labels of the share of right answers."""
    hits = ((logits > 0) == (y == 1)) & known
    counts = known.sum(dim=0)
    return float((hits.sum(dim=0)[counts > 0] / counts[counts > 0].double()).mean())


def _f1(logits: Tensor, y: Tensor, known: Tensor) -> float:
    """Micro-averaged: true and false positives are counted over all tasks together. 0 where there is no positive at all."""
    said, true = (logits > 0) & known, (y == 1) & known
    total = int(said.sum()) + int(true.sum())
    return 2 * int((said & true).sum()) / total if total else 0.0


_COLUMN_METRICS = {"rocauc": _rocauc, "accuracy": _accuracy, "f1": _f1}
