"""Tasks: what labels and logits mean. One value answers all questions of training, evaluation and prediction about them.

| task         | labels `y`                                   | logits       |
|--------------|----------------------------------------------|--------------|
| "multiclass" | int64 (N,): the class, -1 for unlabelled     | (N, classes) |
| "binary"     | int64 (N,): 0 or 1, -1 for unlabelled        | (N, 1)       |
| "multilabel" | float32 (N, T): 0 or 1, NaN for unlabelled   | (N, T)       |
| "regression" | float32 (N, T): numbers, NaN for missing     | (N, T)       |
"""

from __future__ import annotations

from revgnn.data.tasks.base import AbstractTask
from revgnn.data.tasks.binary import Binary
from revgnn.data.tasks.multiclass import Multiclass
from revgnn.data.tasks.multilabel import Multilabel
from revgnn.data.tasks.regression import Regression, TargetScale
from revgnn.data.tasks.scores import LARGER_IS_BETTER, MetricError, is_better

TASKS: dict[str, type[AbstractTask]] = {task.name: task for task in (Multiclass, Binary, Multilabel, Regression)}
"""The class of each task by its name."""

TASK_SETTINGS = (*TASKS, "links", "edges")
"""What a user may name as the task of a data set. "links": which pairs of nodes have an edge, a binary task of pairs; "edges": the
labels of edges, of the task that they look like."""


def as_task(task: AbstractTask | str) -> AbstractTask:
    """Return a task; a name stands for the task with an unknown number of outputs, which losses and scores do not ask for."""
    return TASKS[task](0) if isinstance(task, str) else task


__all__ = [
    "LARGER_IS_BETTER",
    "TASKS",
    "TASK_SETTINGS",
    "AbstractTask",
    "Binary",
    "MetricError",
    "Multiclass",
    "Multilabel",
    "Regression",
    "TargetScale",
    "as_task",
    "is_better",
]
