"""Temperature scaling: probabilities that mean what they say, as far as validation nodes can tell (Guo et al. 2017,
arXiv:1706.04599)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from revgnn.data import NodeDataset
from revgnn.train.inference.evaluation import probabilities
from revgnn.train.objective import labelled

BOUNDS = (0.01, 100.0)
"""Temperatures searched. Where labels can be told apart without an error, the best temperature would be 0."""

BINS = 15
"""Of equal width, as in the paper above."""


@dataclass(frozen=True)
class Temperatures:
    """What logits are divided by, fitted on some nodes."""

    values: Tensor
    """float64: (T,), one for each task; (1,) for classes, which have one together."""
    one_class: tuple[int, ...]
    """Tasks whose labels were all of one class, or missing: nothing can be learnt of them, and they keep 1."""
    at_bound: tuple[int, ...]
    """Tasks whose best temperature lies beyond `BOUNDS`: they were told apart without an error, or no better than by chance."""

    def apply(self, logits: Tensor) -> Tensor:
        """float64 (N, outputs): the logits divided. Neither the order of nodes within a task nor the largest class changes."""
        return logits.double() / self.values


def fit_temperatures(task: str, logits: Tensor, y: Tensor) -> Temperatures:
    r"""The temperature $T$ at which $\mathrm{NLL}(\mathrm{logits} / T)$ over the labelled entries is least, in float64.

    The likelihood is convex in $1/T$, so that a task has one minimum. It is never above that at T = 1.

    Args:
        task: "multiclass" (one temperature), "binary" or "multilabel" (one for each task).
        logits: float (M, outputs), finite, on the CPU.
        y: int64 (M,) with -1 for unlabelled, or float (M, T) with NaN for unlabelled.

    Raises:
        ValueError: if a logit is not finite.
    """
    if not bool(torch.isfinite(logits).all()):
        raise ValueError("logits that are not finite cannot be calibrated; use --amp none, or train with a lower learning rate.")
    values, one_class, at_bound = [], [], []
    for column, (of_task, truth) in enumerate(_tasks(task, logits, y)):
        temperature = 1.0
        if len(truth.unique()) < 2:
            one_class.append(column)
        else:
            temperature = _minimise(task, of_task, truth)
            if not 1.001 * BOUNDS[0] < temperature < 0.999 * BOUNDS[1]:
                at_bound.append(column)
        values.append(temperature)
    return Temperatures(torch.tensor(values, dtype=torch.float64), tuple(one_class), tuple(at_bound))


def negative_log_likelihood(task: str, logits: Tensor, y: Tensor) -> float | None:
    """Mean over all labelled entries, in float64 and nats; None if there are none. Arguments as in `fit_temperatures`."""
    parts = [_losses(task, of_task, truth) for of_task, truth in _tasks(task, logits, y)]
    losses = torch.cat(parts) if parts else torch.empty(0)
    return float(losses.mean()) if len(losses) else None


def calibration_error(task: str, logits: Tensor, y: Tensor) -> float | None:
    """Expected calibration error: how far the mean of the probabilities in a bin lies from the share that came true, over `BINS`
    bins weighted by what is in them.

    For tasks it is of the probability of the label, averaged over the tasks that have labels; for classes of the probability
    of the class that was chosen. None if nothing is labelled. Arguments as in `fit_temperatures`.
    """
    errors = []
    for of_task, truth in _tasks(task, logits, y):
        if len(truth):
            p = probabilities(task, of_task)
            if task == "multiclass":
                said, choice = p.max(dim=1)
                errors.append(_binned_gap(said.numpy(), (choice == truth).double().numpy()))
            else:
                errors.append(_binned_gap(p.numpy(), truth.numpy()))
    return float(np.mean(errors)) if errors else None


@dataclass(frozen=True)
class Calibration:
    """Likelihood and calibration error without and with the temperatures; None where a split has no labels."""

    nll_before: float | None
    nll_after: float | None
    error_before: float | None
    error_after: float | None


def fit_and_report(dataset: NodeDataset, logits: Tensor) -> tuple[Temperatures, dict[str, Any]]:
    """Temperatures fitted on the validation nodes, and a report on validation and test, ready for JSON. Test labels are read for
    the report alone.

    Args:
        logits: float32 (N, outputs), on the CPU.
    """
    task, nodes = dataset.task, dataset.split.valid
    temperatures = fit_temperatures(task, logits[nodes], dataset.y[nodes])
    scaled = temperatures.apply(logits)
    report: dict[str, Any] = {
        "temperatures": temperatures.values.tolist(),
        "one_class": [dataset.task_names[t] if dataset.task_names else t for t in temperatures.one_class],
        "at_bound": [dataset.task_names[t] if dataset.task_names else t for t in temperatures.at_bound],
    }
    for name, part in (("valid", dataset.split.valid), ("test", dataset.split.test)):
        y = dataset.y[part]
        before, after = logits[part].double(), scaled[part]
        report[name] = asdict(
            Calibration(
                negative_log_likelihood(task, before, y),
                negative_log_likelihood(task, after, y),
                calibration_error(task, before, y),
                calibration_error(task, after, y),
            )
        )
    return temperatures, report


def _tasks(task: str, logits: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Logits and labels of the labelled nodes of each task, in float64: (m,) each, or for classes (m, classes) and int64 (m,)."""
    known, logits = labelled(task, y), logits.double()
    if task == "multiclass":
        return [(logits[known], y[known])]
    columns = zip(*(t.view_as(logits).unbind(dim=1) for t in (logits, y, known)), strict=True)
    return [(z[rows], truth[rows].double()) for z, truth, rows in columns]


def _losses(task: str, logits: Tensor, truth: Tensor) -> Tensor:
    if task == "multiclass":
        return torch.nn.functional.cross_entropy(logits, truth, reduction="none")
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")


def _minimise(task: str, logits: Tensor, truth: Tensor) -> float:
    def loss(log_temperature: float) -> float:
        return float(_losses(task, logits / math.exp(log_temperature), truth).mean())

    bounds = (math.log(BOUNDS[0]), math.log(BOUNDS[1]))
    result: Any = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-7})
    found = float(result.x)
    # The search stops within its tolerance of the minimum, so where that is T = 1 it may end a little higher.
    return math.exp(found) if loss(found) < loss(0.0) else 1.0


def _binned_gap(said: np.ndarray, came_true: np.ndarray) -> float:
    bins = np.minimum((said * BINS).astype(np.int64), BINS - 1)
    gaps = np.bincount(bins, weights=said - came_true, minlength=BINS)
    return float(np.abs(gaps).sum() / len(said))
