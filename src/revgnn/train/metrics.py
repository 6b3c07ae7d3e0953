"""Scores of a data set's splits, by the metric of the data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from revgnn.data import NodeDataset
from revgnn.data.tasks import AbstractTask, MetricError, as_task
from revgnn.data.tasks.base import check_logits

__all__ = ["MetricError", "Scores", "check_scorable", "score", "score_splits"]


@dataclass(frozen=True)
class Scores:
    """The data set's metric on each part of its split; None for a part without nodes."""

    train: float | None
    valid: float | None
    test: float | None
    thresholds: tuple[float, ...] | None = None
    """Thresholds of probabilities that the scores were computed with; None for scores without thresholds."""

    def as_dict(self) -> dict[str, float | None]:
        """Return the three scores by name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}


def score_splits(dataset: NodeDataset, logits: Tensor, thresholds: Sequence[float] | None = None) -> Scores:
    """Return the data set's metric for its training, validation and test nodes.

    Args:
        logits: float (N, outputs), on the CPU.
        thresholds: of probabilities, for F1; None: those with the best score on the validation nodes.

    Raises:
        MetricError: see `score`.
    """
    task, metric, y, split = dataset.objective, dataset.metric, dataset.y, dataset.split
    if thresholds is None and len(split.valid):
        check_logits(logits[split.valid])
        thresholds = task.fit_thresholds(metric, logits[split.valid], y[split.valid])

    def score_nodes(nodes: Tensor) -> float | None:
        return score(metric, task, logits[nodes], y[nodes], thresholds) if len(nodes) else None

    used = None if thresholds is None else tuple(thresholds)
    return Scores(score_nodes(split.train), score_nodes(split.valid), score_nodes(split.test), used)


def score(metric: str, task: AbstractTask | str, logits: Tensor, y: Tensor, thresholds: Sequence[float] | None = None) -> float:
    """Return a score of some rows. `revgnn.data.tasks.LARGER_IS_BETTER` says which direction is better.

    Args:
        metric: one of `task.metrics`.
        task: a task or its name.
        logits: float (M, outputs), finite, on the CPU.
        y: labels of the M rows; see `revgnn.data.tasks`.
        thresholds: of probabilities, for F1; see `AbstractTask.fit_thresholds`.

    Raises:
        MetricError: if no row has a label, if no task has both classes (ROC-AUC), or if a logit is not finite.
    """
    task = as_task(task)
    check_logits(logits)
    _check_labelled(task, y, "nodes to score")
    return task.score(metric, logits, y, thresholds)


def check_scorable(metric: str, task: AbstractTask | str, y: Tensor, name: str) -> None:
    """Raise `MetricError` if `score` cannot score these labels. Called before training starts.

    Args:
        name: of the split, for the message.
    """
    task = as_task(task)
    try:
        if not bool(task.labelled(y).any()):
            raise MetricError(f"none of its {len(y)} nodes has a label.")
        task.check_scorable(metric, y)
    except MetricError as error:
        raise MetricError(f"the {name} split cannot be scored: {error}") from None


def _check_labelled(task: AbstractTask, y: Tensor, what: str) -> None:
    if not bool(task.labelled(y).any()):
        raise MetricError(f"none of the {len(y)} {what} has a label.")
