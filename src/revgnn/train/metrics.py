"""Scores of logits against labels: ROC-AUC as the Open Graph Benchmark computes it, accuracy, and micro-averaged F1."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from revgnn.data import NodeDataset
from revgnn.train.task import labelled


class MetricError(ValueError):
    """A score that is not defined for these labels or logits."""


@dataclass(frozen=True)
class Scores:
    """The data set's metric on each part of its split; None for a part without nodes."""

    train: float | None
    valid: float | None
    test: float | None

    def as_dict(self) -> dict[str, float | None]:
        return asdict(self)


def score_splits(dataset: NodeDataset, logits: Tensor) -> Scores:
    """Return the data set's metric for its training, validation and test nodes.

    Args:
        logits: float (N, outputs), on the CPU.

    Raises:
        MetricError: see `score`.
    """

    def score_nodes(nodes: Tensor) -> float | None:
        return score(dataset.metric, dataset.task, logits[nodes], dataset.y[nodes]) if len(nodes) else None

    split = dataset.split
    return Scores(score_nodes(split.train), score_nodes(split.valid), score_nodes(split.test))


def score(metric: str, task: str, logits: Tensor, y: Tensor) -> float:
    """Return the score of some nodes, between 0 and 1; higher is better.

    Args:
        metric: "rocauc", "accuracy" or "f1".
        task: "multiclass", "binary" or "multilabel".
        logits: float (M, outputs), finite, on the CPU.
        y: labels of the M nodes; see `revgnn.train.task`.

    Raises:
        MetricError: if no node has a label, if no task has both classes (ROC-AUC), or if a logit is not finite.
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
        return float(hits.double().mean())  # with one label per node, micro-averaged F1 equals accuracy
    logits, y, known = (t.reshape(len(t), -1) for t in (logits, y, known))
    return _METRICS_OF_TASKS[metric](logits, y, known)


def check_scorable(metric: str, task: str, y: Tensor, name: str) -> None:
    """Raise `MetricError` if `score` cannot score these labels. Called before training starts.

    Args:
        name: of the split, for the message.
    """
    known = labelled(task, y)
    try:
        if not bool(known.any()):
            raise MetricError(f"none of its {len(y)} nodes has a label.")
        if metric == "rocauc":
            _tasks_with_both_classes(*(t.reshape(len(t), -1) for t in (y, known)))
    except MetricError as error:
        raise MetricError(f"the {name} split cannot be scored: {error}") from None


def _tasks_with_both_classes(y: Tensor, known: Tensor) -> list[int]:
    tasks = (((y == 1) & known).any(dim=0) & ((y == 0) & known).any(dim=0)).nonzero().flatten().tolist()
    if not tasks:
        which = "the one task" if y.shape[1] == 1 else f"each of the {y.shape[1]} tasks"
        raise MetricError(f"ROC-AUC needs nodes of both classes, and {which} has labels of one class only.")
    return tasks


def _rocauc(logits: Tensor, y: Tensor, known: Tensor) -> float:
    """Return the mean area over the tasks with labels of both classes. Unlabelled entries do not count."""
    areas = []
    for task in _tasks_with_both_classes(y, known):
        rows = known[:, task]
        areas.append(roc_auc_score(y[rows, task].numpy(), logits[rows, task].numpy()))
    return float(sum(areas) / len(areas))


def _accuracy(logits: Tensor, y: Tensor, known: Tensor) -> float:
    """Return the share of correct predictions, averaged over the tasks with labels."""
    hits = ((logits > 0) == (y == 1)) & known
    counts = known.sum(dim=0)
    return float((hits.sum(dim=0)[counts > 0] / counts[counts > 0].double()).mean())


def _f1(logits: Tensor, y: Tensor, known: Tensor) -> float:
    """Return F1 of the true and false positives of all tasks together; 0 without predicted or true positives."""
    predicted, positive = (logits > 0) & known, (y == 1) & known
    total = int(predicted.sum()) + int(positive.sum())
    return 2 * int((predicted & positive).sum()) / total if total else 0.0


_METRICS_OF_TASKS = {"rocauc": _rocauc, "accuracy": _accuracy, "f1": _f1}
"""Metrics of binary and multilabel tasks. Each takes logits, y and known labels, all (M, T)."""
