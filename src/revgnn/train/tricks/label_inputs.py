"""Labels as inputs: some training nodes show their label to the network, the others are to be predicted.

Features and labels then spread over the graph together (Shi et al. 2021, arXiv:2009.03509; Wang et al. 2021, arXiv:2103.13355).
Each training step hides the labels of another random subset and takes its loss there alone, so no node ever sees its own. In
evaluation all training labels are shown; those of validation and test nodes never are.

With `RunConfig.label_reuse` the network then runs again, n times, with its own predictions where a label is not shown (the label
reuse of arXiv:2103.13355). Only the last pass is trained on; the predictions are constants to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from revgnn.data import NodeDataset
from revgnn.train.batches import Batch
from revgnn.train.objective import labelled, num_labelled


def label_width(dataset: NodeDataset) -> int:
    """Input features that labels take: one for each class, or for each task."""
    return {"multiclass": dataset.num_outputs, "binary": 2, "multilabel": dataset.num_outputs}[dataset.task]


def label_vectors(dataset: NodeDataset) -> Tensor:
    """float32, (N, `label_width`): one-hot classes, or 0 and 1 for each task.

    0 where unlabelled, and for all but the training nodes.
    """
    train = dataset.split.train
    y = dataset.y[train]
    known = labelled(dataset.task, y)
    if dataset.task == "multilabel":
        rows = torch.where(known, y, 0.0)
    else:
        rows = F.one_hot(torch.where(known, y, 0), label_width(dataset)).float() * known.unsqueeze(1)
    vectors = torch.zeros(dataset.num_nodes, label_width(dataset))
    vectors[train] = rows
    return vectors


def show_all(batch: Batch, task: str) -> Batch:
    """With the labels of all training nodes as inputs."""
    assert batch.labels is not None
    return replace(batch, x=_beside(batch.x, batch.labels), shown=_mask(batch.train, batch, task))


def show_some(batch: Batch, share: float, task: str) -> Batch:
    """With the labels of a random `share` of the training nodes as inputs; the others remain to be trained on.

    The draw comes from torch's default generator. Where it leaves nothing to train on, nothing is shown.
    """
    assert batch.labels is not None
    shown = (torch.rand(len(batch.train)) < share).to(batch.train.device)
    hidden = batch.train[~shown]
    if num_labelled(task, batch.y[hidden]) == 0:
        shown, hidden = torch.zeros_like(shown), batch.train
    labels = batch.labels.index_fill(0, hidden, 0.0)
    return replace(batch, x=_beside(batch.x, labels), train=hidden, shown=_mask(batch.train[shown], batch, task))


def reuse_labels(forward: Callable[[Batch], Tensor], batch: Batch, times: int, task: str) -> Batch:
    """The batch as the last pass sees it: before it, `times` passes without gradients, each fed with what the last predicted.

    In training mode these passes are ones of training too: they draw dropout, and batch norm takes their statistics in, as in
    the authors' code.

    Args:
        forward: from a batch of `show_all` or `show_some` to its logits.
    """
    for _ in range(times):
        with torch.no_grad():
            batch = show_predictions(batch, forward(batch), task)
    return batch


def show_predictions(batch: Batch, logits: Tensor, task: str) -> Batch:
    """With probabilities as inputs of all nodes whose label is not shown, in the place of 0 and 1.

    Args:
        batch: of `show_all` or `show_some`.
        logits: (M, outputs) of that batch, any floating dtype.
    """
    assert batch.x is not None
    assert batch.shown is not None
    logits = logits.float()
    if task == "multiclass":
        predicted = logits.softmax(dim=1)
    elif task == "binary":
        predicted = torch.cat([torch.sigmoid(-logits), torch.sigmoid(logits)], dim=1)
    else:
        predicted = torch.sigmoid(logits)
    features, labels = batch.x.tensor_split([batch.x.shape[1] - predicted.shape[1]], dim=1)
    return replace(batch, x=torch.cat([features, torch.where(batch.shown.unsqueeze(1), labels, predicted)], dim=1))


def _mask(nodes: Tensor, batch: Batch, task: str) -> Tensor:
    """bool (M,): those of `nodes` (positions) that have a label to show."""
    known = labelled(task, batch.y[nodes])
    known = known.any(dim=1) if known.dim() == 2 else known
    return torch.zeros(batch.graph.num_nodes, dtype=torch.bool, device=nodes.device).index_fill(0, nodes[known], True)


def _beside(x: Tensor | None, labels: Tensor) -> Tensor:
    return labels if x is None else torch.cat([x, labels], dim=1)
