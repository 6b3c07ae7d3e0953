"""What training minimises: cross entropy over the labelled entries, whatever the task."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1.0 - math.log(2.0)
"""Of the logarithmic loss: its slope at a cross entropy of log 2, where the true class has probability 1/2, is 1."""


def objective(task: str, logits: Tensor, y: Tensor, loss: str = "cross_entropy") -> Tensor:
    """Mean loss over the labelled entries, a scalar in float32.

    Args:
        task: "multiclass" (softmax cross entropy), "binary" or "multilabel" (a logistic loss for each task).
        logits: (M, classes), (M, 1) or (M, T), any floating dtype; taken to float32 first, as autocast hands over less.
        y: int64 (M,) with -1 for unlabelled, or float (M, T) with NaN for unlabelled.
        loss: "cross_entropy", or for "multiclass" alone "log": log(EPS + cross entropy) - log(EPS) of each node, which grows
            slower and is less led by nodes that are far from right (Wang et al. 2021, arXiv:2103.13355).

    Returns:
        NaN where nothing is labelled: ask `num_labelled` first.
    """
    logits = logits.float()
    if task == "multiclass" and loss == "log":
        each = F.cross_entropy(logits, y, ignore_index=-1, reduction="none")  # 0 where unlabelled, and so is its logarithm
        return (torch.log(EPS + each) - math.log(EPS)).sum() / (y >= 0).sum()
    assert loss == "cross_entropy"  # `prepare` refuses it elsewhere
    if task == "multiclass":
        return F.cross_entropy(logits, y, ignore_index=-1)
    known = labelled(task, y).view_as(logits)
    target = torch.where(known, y.view_as(logits), 0).float()
    # Weighted rather than selected: selecting has a size that depends on the data, for which a GPU must stop and wait.
    total = F.binary_cross_entropy_with_logits(logits, target, weight=known.float(), reduction="sum")
    return total / known.sum()


def labelled(task: str, y: Tensor) -> Tensor:
    """bool, shape of `y`: which entries have a label."""
    return ~y.isnan() if task == "multilabel" else y >= 0


def num_labelled(task: str, y: Tensor) -> int:
    """Rows of `y` with a label."""
    known = labelled(task, y)
    return int((known.any(dim=1) if known.dim() == 2 else known).sum())
