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
from revgnn.train.run.team import ALONE, Team
from revgnn.train.tricks.label_inputs import reuse_labels, show_all_labels


def infer(model: nn.Module, batches: AbstractBatches, evaluation: EvalConfig, seed: int, team: Team = ALONE) -> Tensor:
    """Return the logits of every node in evaluation mode: the mean over `views` partitions into `parts` parts.

    With one part, a view is the whole graph. All views are then equal, and only one is computed.

    Args:
        team: processes that share the parts of the views; each of them gets the result.

    Returns:
        float32 (N, outputs), on the CPU. It depends only on the weights, `evaluation` and `seed`, and not on the team. Torch's
        generators are left unchanged, so a training does not depend on how often it is evaluated.
    """
    total = torch.zeros(_logits_shape(batches))
    with evaluating(model, batches.device, seed):
        for rows, logits in _view_logits(model, batches, evaluation, seed, team):
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


def infer_with_spread(
    model: nn.Module, batches: AbstractBatches, evaluation: EvalConfig, seed: int, team: Team = ALONE
) -> ViewSpread:
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
    with evaluating(model, batches.device, seed):
        for rows, logits in _view_logits(model, batches, evaluation, seed, team):
            total[rows] += logits
            of_logits.add(rows, logits)
            of_probabilities.add(rows, task.values(logits))
    return ViewSpread(total / _num_views(evaluation), of_logits.deviation(), of_probabilities.deviation())


def _view_logits(
    model: nn.Module, batches: AbstractBatches, evaluation: EvalConfig, seed: int, team: Team
) -> Iterator[tuple[Tensor | slice, Tensor]]:
    """Yield the rows and the logits of the parts of each view, view by view: a slice and all logits if processes share them."""

    def parts(view: int) -> Iterator[tuple[Tensor | slice, Tensor]]:
        """Yield those parts of a view that are this process's. They go round, over all views."""

        def own(count: int) -> list[int]:
            return [n for n in range(count) if (view * count + n) % team.size == team.rank]

        for batch in batches.view(evaluation.parts, view_seed(seed, view), own):
            logits = batch_logits(model, batch, evaluation, batches.dataset.objective, batches.label_reuse)
            rows = batch.nodes if batch.rows is None else batch.rows
            yield slice(None) if rows is None else rows, logits

    views = _num_views(evaluation)
    if team.size == 1:
        for view in range(views):
            yield from parts(view)
        return
    # As many views at once as there are processes: all have work, and none holds more logits than that.
    for first in range(0, views, team.size):
        together = [torch.full(_logits_shape(batches), -0.0) for _ in range(first, min(first + team.size, views))]
        for view, logits in enumerate(together, start=first):
            for rows, found in parts(view):
                logits[rows] = found
        # Each row comes from one process, so that the sum is exact.
        yield from ((slice(None), team.sum(logits)) for logits in together)


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
def evaluating(model: nn.Module, device: torch.device, seed: int) -> Iterator[None]:
    """Put the model into evaluation mode, without gradients, with random numbers of a seed, and restore all afterwards."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), own_random_numbers(device, seed):
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
