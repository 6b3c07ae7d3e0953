"""Multi-view inference: logits are the mean over independent random partitions (supplement of arXiv:2106.07476, "multi-view")."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from revgnn.data.tasks import AbstractTask
from revgnn.train.batches import AbstractBatches, Batch
from revgnn.train.config import EvalConfig
from revgnn.train.inference.deviation import RunningDeviation
from revgnn.train.random_numbers import own_random_numbers
from revgnn.train.run.optimization import autocast
from revgnn.train.tricks.label_inputs import reuse_labels, show_all_labels


def infer(model: nn.Module, batches: AbstractBatches, evaluation: EvalConfig, seed: int) -> Tensor:
    """Return the logits of every node in evaluation mode: the mean over `views` partitions into `parts` parts.

    With one part, a view is the whole graph. All views are then equal, and only one is computed.

    Returns:
        float32 (N, outputs), on the CPU. It depends only on the weights, `evaluation` and `seed`. Torch's generators are left
        unchanged, so a training does not depend on how often it is evaluated.
    """
    total = torch.zeros(_logits_shape(batches))
    with _evaluation_mode(model), own_random_numbers(batches.device, seed):
        for rows, logits in _view_logits(model, batches, evaluation, seed):
            total[rows] += logits
    return total / _num_views(evaluation)


@dataclass(frozen=True)
class ViewSpread:
    """Mean and deviation over several views: float32 (N, outputs) each, on the CPU."""

    logits: Tensor
    """The mean, bit for bit the result of `infer`."""
    logits_std: Tensor
    """Sample standard deviation over the views."""
    probabilities_std: Tensor
    """Sample standard deviation of the views' probabilities."""


def infer_with_spread(model: nn.Module, batches: AbstractBatches, evaluation: EvalConfig, seed: int) -> ViewSpread:
    """Return the result of `infer` and the deviation over its views. Memory does not grow with the number of views.

    Raises:
        ValueError: for fewer than two views or fewer than two parts, which have no spread.
    """
    if evaluation.views < 2 or evaluation.parts < 2:
        raise ValueError(
            f"a spread needs 2 or more views of 2 or more parts, got {evaluation.views} views of {evaluation.parts} parts (one "
            "part is the whole graph, so all its views are equal); use, for example, --views 10 --parts 5."
        )
    shape, task = _logits_shape(batches), batches.dataset.objective
    total, of_logits, of_probabilities = torch.zeros(shape), RunningDeviation(shape), RunningDeviation(shape)
    with _evaluation_mode(model), own_random_numbers(batches.device, seed):
        for rows, logits in _view_logits(model, batches, evaluation, seed):
            total[rows] += logits
            of_logits.add(rows, logits)
            of_probabilities.add(rows, task.values(logits))
    return ViewSpread(total / _num_views(evaluation), of_logits.deviation(), of_probabilities.deviation())


def _view_logits(
    model: nn.Module, batches: AbstractBatches, evaluation: EvalConfig, seed: int
) -> Iterator[tuple[Tensor | slice, Tensor]]:
    """Yield, for each part of each view, the rows of its nodes (a slice for the whole graph) and their logits."""
    for view in range(_num_views(evaluation)):
        for batch in batches.view(evaluation.parts, view_seed(seed, view)):
            logits = batch_logits(model, batch, evaluation, batches.dataset.objective, batches.label_reuse)
            rows = batch.nodes if batch.rows is None else batch.rows
            yield slice(None) if rows is None else rows, logits


def batch_logits(model: nn.Module, batch: Batch, evaluation: EvalConfig, task: AbstractTask, label_reuse: int) -> Tensor:
    """Return the logits of a batch, float32 on the CPU, from a model in evaluation mode.

    Args:
        label_reuse: passes before the last one if labels are inputs.
    """

    def forward(batch: Batch) -> Tensor:
        return model(batch.graph, batch.x, batch.species, **batch.targets)

    with autocast(batch.graph.device, evaluation.amp):
        if batch.labels is not None:
            batch = reuse_labels(forward, show_all_labels(batch, task), label_reuse, task)
        logits = forward(batch)
    return logits.float().cpu()


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put the model into evaluation mode, without gradients, and restore its mode afterwards."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def _num_views(evaluation: EvalConfig) -> int:
    return evaluation.views if evaluation.parts > 1 else 1


def _logits_shape(batches: AbstractBatches) -> tuple[int, int]:
    return batches.dataset.num_rows, batches.dataset.num_outputs


def view_seed(seed: int, view: int) -> int:
    """Return a partition seed that differs from view to view and that no training run uses."""
    return int(np.random.SeedSequence([seed, view, 0x76696577]).generate_state(1, np.uint64)[0] >> 1)
