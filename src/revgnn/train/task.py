"""The three tasks, and what their labels and logits mean.

| task         | labels `y`                                   | logits       |
|--------------|----------------------------------------------|--------------|
| "multiclass" | int64 (N,): the class, -1 for unlabelled     | (N, classes) |
| "binary"     | int64 (N,): 0 or 1, -1 for unlabelled        | (N, 1)       |
| "multilabel" | float (N, T): 0 or 1, NaN for unlabelled     | (N, T)       |
"""

from __future__ import annotations

from torch import Tensor


def labelled(task: str, y: Tensor) -> Tensor:
    """Return a bool tensor of the shape of `y`: True for entries with a label."""
    return ~y.isnan() if task == "multilabel" else y >= 0


def num_labelled(task: str, y: Tensor) -> int:
    """Return the number of nodes with at least one label."""
    known = labelled(task, y)
    return int((known.any(dim=1) if known.dim() == 2 else known).sum())


def probabilities(task: str, logits: Tensor) -> Tensor:
    """Return the probabilities, (N, outputs): a softmax over the classes, or a sigmoid of each logit."""
    return logits.softmax(dim=1) if task == "multiclass" else logits.sigmoid()
