"""Temperature scaling: calibrated probabilities, fitted on the validation nodes (Guo et al. 2017, arXiv:1706.04599)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from revgnn.data import NodeDataset
from revgnn.data.tasks import AbstractTask, as_task

BOUNDS = (0.01, 100.0)
"""The range of temperatures. If the labels can be separated without an error, the best temperature would be 0."""

BINS = 15
"""Number of bins of equal width for the calibration error, as in the paper."""


@dataclass(frozen=True)
class Temperatures:
    """The temperatures that logits are divided by, fitted on some nodes."""

    values: Tensor
    """float64: (T,), one per task; (1,), one temperature for all classes."""
    one_class: tuple[int, ...]
    """Tasks whose labels were all of one class, or missing. Their temperature is 1."""
    at_bound: tuple[int, ...]
    """Tasks whose best temperature is outside `BOUNDS`: predicted without an error, or no better than by chance."""

    def apply(self, logits: Tensor) -> Tensor:
        """Return the logits divided by the temperatures: float64 (N, outputs).

        Neither the order of the nodes within a task nor the class with the largest logit changes.
        """
        return logits.double() / self.values


def fit_temperatures(task: AbstractTask | str, logits: Tensor, y: Tensor) -> Temperatures:
    r"""Return the temperatures $T$ that minimise $\mathrm{NLL}(\mathrm{logits} / T)$ over the labelled entries, in float64.

    The negative log-likelihood is convex in $1/T$, so there is one minimum per task. It is never above its value at T = 1.

    Args:
        task: a task or its name; "multiclass" has one temperature, "binary" and "multilabel" one for each label.
        logits: float (M, outputs), finite, on the CPU.
        y: labels of the M nodes; see `revgnn.data.tasks`.

    Raises:
        ValueError: if a logit is not finite.
    """
    if not bool(torch.isfinite(logits).all()):
        raise ValueError("logits that are not finite cannot be calibrated; use --amp none, or train with a lower learning rate.")
    task = as_task(task)
    values, one_class, at_bound = [], [], []
    for column, (task_logits, truth) in enumerate(task.calibration_columns(logits, y)):
        temperature = 1.0
        if len(truth.unique()) < 2:
            one_class.append(column)
        else:
            temperature = _best_temperature(task, task_logits, truth)
            if not 1.001 * BOUNDS[0] < temperature < 0.999 * BOUNDS[1]:
                at_bound.append(column)
        values.append(temperature)
    return Temperatures(torch.tensor(values, dtype=torch.float64), tuple(one_class), tuple(at_bound))


def negative_log_likelihood(task: AbstractTask | str, logits: Tensor, y: Tensor) -> float | None:
    """Return the mean over all labelled entries in float64, in nats; None without labels. Arguments as in `fit_temperatures`."""
    task = as_task(task)
    parts = [task.calibration_losses(*column) for column in task.calibration_columns(logits, y)]
    losses = torch.cat(parts) if parts else torch.empty(0)
    return float(losses.mean()) if len(losses) else None


def calibration_error(task: AbstractTask | str, logits: Tensor, y: Tensor) -> float | None:
    """Return the expected calibration error; None without labels. Arguments as in `fit_temperatures`.

    In each of `BINS` bins, it compares the mean probability with the share of predictions that are true. Bins are weighted by
    their number of entries. Multiclass: the probability of the predicted class. Binary and multilabel: the probability of each
    label, averaged over the tasks with labels.
    """
    task, errors = as_task(task), []
    for column_logits, truth in task.calibration_columns(logits, y):
        if len(truth):
            confidence, is_true = task.confidence(column_logits, truth)
            errors.append(_binned_gap(confidence.numpy(), is_true.numpy()))
    return float(np.mean(errors)) if errors else None


@dataclass(frozen=True)
class Calibration:
    """Negative log-likelihood and calibration error, without and with the temperatures; None for a split without labels."""

    nll_before: float | None
    nll_after: float | None
    error_before: float | None
    error_after: float | None


def fit_and_report(dataset: NodeDataset, logits: Tensor) -> tuple[Temperatures, dict[str, Any]]:
    """Fit temperatures on the validation nodes, and report on validation and test nodes, ready for JSON.

    Test labels are used only for the report.

    Args:
        logits: float32 (N, outputs), on the CPU.
    """
    task, valid = dataset.objective, dataset.split.valid
    temperatures = fit_temperatures(task, logits[valid], dataset.y[valid])
    scaled = temperatures.apply(logits)
    report: dict[str, Any] = {
        "temperatures": temperatures.values.tolist(),
        "one_class": [dataset.task_names[t] if dataset.task_names else t for t in temperatures.one_class],
        "at_bound": [dataset.task_names[t] if dataset.task_names else t for t in temperatures.at_bound],
    }
    for name, nodes in (("valid", valid), ("test", dataset.split.test)):
        y = dataset.y[nodes]
        before, after = logits[nodes].double(), scaled[nodes]
        report[name] = asdict(
            Calibration(
                negative_log_likelihood(task, before, y),
                negative_log_likelihood(task, after, y),
                calibration_error(task, before, y),
                calibration_error(task, after, y),
            )
        )
    return temperatures, report


def _best_temperature(task: AbstractTask, logits: Tensor, truth: Tensor) -> float:
    def loss(log_temperature: float) -> float:
        return float(task.calibration_losses(logits / math.exp(log_temperature), truth).mean())

    bounds = (math.log(BOUNDS[0]), math.log(BOUNDS[1]))
    result: Any = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-7})
    best = float(result.x)
    # The search ends within a tolerance of the minimum. If that is T = 1, the loss found may be a little higher.
    return math.exp(best) if loss(best) < loss(0.0) else 1.0


def _binned_gap(confidence: np.ndarray, is_true: np.ndarray) -> float:
    bins = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    gaps = np.bincount(bins, weights=confidence - is_true, minlength=BINS)
    return float(np.abs(gaps).sum() / len(confidence))
