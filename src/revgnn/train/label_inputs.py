"""Labels as inputs: some training nodes show their label to the network, the others are to be predicted.

Features and labels then spread over the graph together (Shi et al. 2021, arXiv:2009.03509; Wang et al. 2021, arXiv:2103.13355).
Each training step hides the labels of another random subset and takes its loss there alone, so no node ever sees its own. In
evaluation all training labels are shown; those of validation and test nodes never are.
"""

from __future__ import annotations

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


def show_all(batch: Batch) -> Batch:
    """With the labels of all training nodes as inputs."""
    assert batch.labels is not None
    return replace(batch, x=_beside(batch.x, batch.labels))


def show_some(batch: Batch, share: float, task: str) -> Batch:
    """With the labels of a random `share` of the training nodes as inputs; the others remain to be trained on.

    The draw comes from torch's default generator. Where it leaves nothing to train on, nothing is shown.
    """
    assert batch.labels is not None
    shown = torch.rand(len(batch.train)) < share
    hidden = batch.train[~shown.to(batch.train.device)]
    if num_labelled(task, batch.y[hidden]) == 0:
        hidden = batch.train
    labels = batch.labels.index_fill(0, hidden, 0.0)
    return replace(batch, x=_beside(batch.x, labels), train=hidden)


def _beside(x: Tensor | None, labels: Tensor) -> Tensor:
    return labels if x is None else torch.cat([x, labels], dim=1)
