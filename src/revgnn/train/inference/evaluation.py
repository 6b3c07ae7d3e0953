"""Multi-view inference: logits are the mean over independent random partitions (supplement of arXiv:2106.07476, "multi-view")."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor, nn

from revgnn.data import NodeDataset
from revgnn.train.batches import Batch, Batches
from revgnn.train.config import EvalConfig
from revgnn.train.inference.spread import RunningSpread
from revgnn.train.metrics import score
from revgnn.train.run.precision import autocast
from revgnn.train.tricks.label_inputs import reuse_labels, show_all


@dataclass(frozen=True)
class Scores:
    """The data set's metric on each part of the split; None where it has no nodes."""

    train: float | None
    valid: float | None
    test: float | None

    def as_dict(self) -> dict[str, float | None]:
        return asdict(self)


def infer(model: nn.Module, batches: Batches, how: EvalConfig, seed: int) -> Tensor:
    """Logits of every node in evaluation mode: the mean over `how.views` partitions into `how.parts` parts.

    One view of one part is the whole graph; then further views would be the same and are not computed.

    Returns:
        float32, (N, outputs), on the CPU. It depends on the weights, `how` and `seed` alone.
    """
    mean = _Mean(batches)
    views = _look(model, batches, how, seed, [mean])
    return mean.total / views


@dataclass(frozen=True)
class Spread:
    """What several views say of each node: float32 (N, outputs) each, on the CPU."""

    logits: Tensor
    """As `infer` gives them, to the last bit."""
    logits_std: Tensor
    """Sample standard deviation over the views."""
    probabilities_std: Tensor
    """The same of `probabilities`, taken of each view."""


def infer_with_spread(model: nn.Module, batches: Batches, how: EvalConfig, seed: int) -> Spread:
    """`infer`, and how far its views lie apart. Views are taken in as they come: memory does not grow with their number.

    Raises:
        ValueError: for fewer than two views, or one part, which have no spread.
    """
    if how.views < 2 or how.parts < 2:
        raise ValueError(
            f"a spread is over 2 or more views of 2 or more parts, got {how.views} views of {how.parts} parts (one part is the "
            "whole graph, and its views are all the same); give --views 10 --parts 5, say."
        )
    mean, of_logits, of_probabilities = _Mean(batches), _Deviation(batches), _Deviation(batches, batches.dataset.task)
    _look(model, batches, how, seed, [mean, of_logits, of_probabilities])
    return Spread(mean.total / how.views, of_logits.value(), of_probabilities.value())


class _Mean:
    """Adds up the logits of all views."""

    def __init__(self, batches: Batches) -> None:
        self.total = torch.zeros(batches.dataset.num_nodes, batches.dataset.num_outputs)

    def __call__(self, nodes: Tensor | None, logits: Tensor) -> None:
        if nodes is None:
            self.total += logits
        else:
            self.total[nodes] += logits


class _Deviation:
    """Of the logits, or with a task of the probabilities."""

    def __init__(self, batches: Batches, task: str | None = None) -> None:
        self._running = RunningSpread((batches.dataset.num_nodes, batches.dataset.num_outputs))
        self._task = task

    def __call__(self, nodes: Tensor | None, logits: Tensor) -> None:
        self._running.add(nodes, logits if self._task is None else probabilities(self._task, logits))

    def value(self) -> Tensor:
        return self._running.deviation()


@torch.no_grad()
def _look(
    model: nn.Module, batches: Batches, how: EvalConfig, seed: int, takers: Sequence[Callable[[Tensor | None, Tensor], None]]
) -> int:
    """Hand each part of each view to all `takers`: its nodes, None for the whole graph, and their logits. Returns the views."""
    views = how.views if how.parts > 1 else 1
    task = batches.dataset.task

    def forward(batch: Batch) -> Tensor:
        return model(batch.graph, batch.x, batch.species)

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
                for take in takers:
                    take(batch.nodes, logits)
    finally:
        model.train(was_training)
    return views


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
