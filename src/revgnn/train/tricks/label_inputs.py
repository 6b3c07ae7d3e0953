"""Labels as inputs: some training nodes give their label to the network as a feature, and the others are predicted.

Features and labels then spread over the graph together (Shi et al. 2021, arXiv:2009.03509; Wang et al. 2021, arXiv:2103.13355).
Each training step hides the labels of another random subset of the training nodes and takes its loss on this subset only, so
no node is trained on a label it can see. Evaluation shows all training labels. Validation and test labels are never shown.

With `RunConfig.label_reuse` = n, the network runs n more times, with its own predictions in place of the labels that are not
shown (label reuse, arXiv:2103.13355). Only the last pass is trained. Its gradient does not include the predictions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from revgnn.data import NodeDataset
from revgnn.data.tasks import AbstractTask, as_task
from revgnn.train.batches import Batch


def label_width(dataset: NodeDataset) -> int:
    """Return the number of input features for labels: one for each class, or for each task of a multilabel data set."""
    return dataset.objective.label_width


def label_vectors(dataset: NodeDataset) -> Tensor:
    """Return the labels as features, float32 (N, `label_width`): one-hot classes, or 0 and 1 for each task.

    Rows of unlabelled nodes and of nodes outside the training split are 0.
    """
    train = dataset.split.train
    rows = dataset.objective.label_rows(dataset.y[train])
    vectors = torch.zeros(dataset.num_nodes, label_width(dataset))
    vectors[train] = rows
    return vectors


def show_all_labels(batch: Batch, task: AbstractTask | str) -> Batch:
    """Return the batch with the labels of all training nodes as inputs."""
    assert batch.labels is not None
    return replace(batch, x=_append_columns(batch.x, batch.labels), shown=_labelled_mask(batch.train, batch, task))


def show_some_labels(batch: Batch, share: float, task: AbstractTask | str) -> Batch:
    """Return the batch with the labels of a random `share` of the training nodes as inputs; `train` holds the other nodes.

    The choice uses torch's default generator. If no labelled node would be left to train on, no label is shown.
    """
    assert batch.labels is not None
    shown = (torch.rand(len(batch.train)) < share).to(batch.train.device)
    hidden = batch.train[~shown]
    if as_task(task).num_labelled(batch.y[hidden]) == 0:
        shown = torch.zeros_like(shown)
    return show_labels(batch, shown, task)


def show_labels(batch: Batch, shown: Tensor, task: AbstractTask | str) -> Batch:
    """Return the batch with the labels of some training nodes as inputs; `train` holds the other training nodes.

    Args:
        shown: bool (S,), which of `batch.train`.
    """
    assert batch.labels is not None
    hidden = batch.train[~shown]
    labels = batch.labels.index_fill(0, hidden, 0.0)
    return replace(
        batch,
        x=_append_columns(batch.x, labels),
        train=hidden,
        shown=_labelled_mask(batch.train[shown], batch, task),
    )


def reuse_labels(forward: Callable[[Batch], Tensor], batch: Batch, times: int, task: AbstractTask | str) -> Batch:
    """Run `times` passes without gradients, each with the predictions of the pass before, and return the batch for the last pass.

    In training mode these passes behave as in training: they draw dropout masks and update the statistics of batch norm, as the
    authors' code does.

    Args:
        forward: computes the logits of a batch of `show_all_labels` or `show_some_labels`.
    """
    for _ in range(times):
        with torch.no_grad():
            batch = show_predictions(batch, forward(batch), task)
    return batch


def show_predictions(batch: Batch, logits: Tensor, task: AbstractTask | str) -> Batch:
    """Return the batch with predicted probabilities as inputs of all nodes whose label is not shown.

    Args:
        batch: a batch of `show_all_labels` or `show_some_labels`.
        logits: its logits, (M, outputs), any floating dtype.
    """
    assert batch.x is not None
    assert batch.shown is not None
    logits = logits.float()
    predicted = as_task(task).predicted_rows(logits)
    features, labels = batch.x.tensor_split([batch.x.shape[1] - predicted.shape[1]], dim=1)
    return replace(batch, x=torch.cat([features, torch.where(batch.shown.unsqueeze(1), labels, predicted)], dim=1))


def _labelled_mask(nodes: Tensor, batch: Batch, task: AbstractTask | str) -> Tensor:
    """Return bool (M,): True at those positions in `nodes` that have a label."""
    known = as_task(task).labelled(batch.y[nodes])
    known = known.any(dim=1) if known.dim() == 2 else known
    return torch.zeros(len(batch.y), dtype=torch.bool, device=nodes.device).index_fill(0, nodes[known], True)


def _append_columns(x: Tensor | None, labels: Tensor) -> Tensor:
    return labels if x is None else torch.cat([x, labels], dim=1)
