"""The three tasks: what their labels and logits mean, and the training loss.

| task         | labels `y`                                   | logits       |
|--------------|----------------------------------------------|--------------|
| "multiclass" | int64 (N,): the class, -1 for unlabelled     | (N, classes) |
| "binary"     | int64 (N,): 0 or 1, -1 for unlabelled        | (N, 1)       |
| "multilabel" | float (N, T): 0 or 1, NaN for unlabelled     | (N, T)       |
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1.0 - math.log(2.0)
"""Constant of the logarithmic loss. Its slope is 1 at a cross entropy of log 2, where the true class has probability 1/2."""


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


def objective(task: str, logits: Tensor, y: Tensor, loss: str = "cross_entropy") -> Tensor:
    """Return the mean loss over the labelled entries, a scalar in float32.

    Args:
        task: "multiclass" (softmax cross entropy), "binary" or "multilabel" (a logistic loss for each task).
        logits: (M, outputs), any floating dtype. They are converted to float32 first, since autocast returns shorter floats.
        y: labels of the M nodes; see above.
        loss: "cross_entropy", or "log" (multiclass only): log(EPS + cross entropy) - log(EPS) of each node. It grows more
            slowly, so nodes with a large error have less weight (Wang et al. 2021, arXiv:2103.13355).

    Returns:
        NaN if no entry has a label; check `num_labelled` first.
    """
    logits = logits.float()
    if task == "multiclass" and loss == "log":
        each = F.cross_entropy(logits, y, ignore_index=-1, reduction="none")  # 0 for unlabelled nodes, and so is their log term
        return (torch.log(EPS + each) - math.log(EPS)).sum() / (y >= 0).sum()
    assert loss == "cross_entropy"  # `prepare` refuses "log" for the other tasks
    if task == "multiclass":
        return F.cross_entropy(logits, y, ignore_index=-1)
    known = labelled(task, y).view_as(logits)
    target = torch.where(known, y.view_as(logits), 0).float()
    # Weights instead of an index: the size of a selection depends on the data, and a GPU would have to wait for it.
    total = F.binary_cross_entropy_with_logits(logits, target, weight=known.float(), reduction="sum")
    return total / known.sum()
