"""Multi-view inference: logits are the mean over independent random partitions (supplement of arXiv:2106.07476, "multi-view")."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor, nn

from revgnn.data import NodeDataset
from revgnn.train.batches import Batch, Batches
from revgnn.train.config import EvalConfig
from revgnn.train.label_inputs import reuse_labels, show_all
from revgnn.train.metrics import score
from revgnn.train.precision import autocast


@dataclass(frozen=True)
class Scores:
    """The data set's metric on each part of the split; None where it has no nodes."""

    train: float | None
    valid: float | None
    test: float | None

    def as_dict(self) -> dict[str, float | None]:
        return asdict(self)


@torch.no_grad()
def infer(model: nn.Module, batches: Batches, how: EvalConfig, seed: int) -> Tensor:
    """Logits of every node in evaluation mode: the mean over `how.views` partitions into `how.parts` parts.

    One view of one part is the whole graph; then further views would be the same and are not computed.

    Returns:
        float32, (N, outputs), on the CPU. It depends on the weights, `how` and `seed` alone.
    """
    views = how.views if how.parts > 1 else 1
    task = batches.dataset.task

    def forward(batch: Batch) -> Tensor:
        return model(batch.graph, batch.x, batch.species)

    total: Tensor | None = None
    was_training = model.training
    model.eval()
    try:
        for view in range(views):
            for batch in batches.view(how.parts, _view_seed(seed, view)):
                with autocast(batches.device, how.amp):
                    if batch.labels is not None:
                        batch = reuse_labels(forward, show_all(batch, task), batches.label_reuse, task)
                    logits = forward(batch)
                logits = logits.float().cpu()
                if total is None:
                    total = torch.zeros(batches.dataset.num_nodes, logits.shape[1])
                if batch.nodes is None:
                    total += logits
                else:
                    total[batch.nodes] += logits
    finally:
        model.train(was_training)
    assert total is not None  # a partition has at least one part
    return total / views


def score_splits(dataset: NodeDataset, logits: Tensor) -> Scores:
    """The data set's metric for training, validation and test nodes.

    Args:
        logits: float (N, outputs), on the CPU.

    Raises:
        MetricError: see `revgnn.train.metrics.score`.
    """

    def of(nodes: Tensor) -> float | None:
        return score(dataset.metric, dataset.task, logits[nodes], dataset.y[nodes]) if len(nodes) else None

    split = dataset.split
    return Scores(of(split.train), of(split.valid), of(split.test))


def probabilities(task: str, logits: Tensor) -> Tensor:
    """float (N, outputs): softmax over the classes, or the probability of each label by itself."""
    return logits.softmax(dim=1) if task == "multiclass" else logits.sigmoid()


def _view_seed(seed: int, view: int) -> int:
    """A partition seed that no training run uses and that differs from view to view."""
    return int(np.random.SeedSequence([seed, view, 0x76696577]).generate_state(1, np.uint64)[0] >> 1)
