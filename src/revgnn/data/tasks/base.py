"""`AbstractTask`: all that training, evaluation and prediction ask about labels, logits, losses and scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

import numpy as np
import torch
from torch import Tensor

from revgnn.data.tasks.scores import LARGER_IS_BETTER, MetricError


@dataclass(frozen=True)
class AbstractTask(ABC):
    """What the rows of `y` and the logits of a network mean. Rows are those of nodes, graphs or edges: a task does not know.

    Attributes:
        num_outputs: T, logits of a row.
        name: as in files and configurations.
        metrics: names of the scores it has; the first is the default.
        losses: names of the losses it has; the first is the default.
        value_name: what `values` are called in files.
    """

    num_outputs: int

    name: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    losses: ClassVar[tuple[str, ...]]
    value_name: ClassVar[str] = "probabilities"

    # --- labels -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def check(self, y: Tensor, num_rows: int, names: Sequence[str] | None, row: str) -> None:
        """Raise `ValueError` if `y` does not hold labels of this task for `num_rows` rows, or `names` do not fit the outputs.

        Args:
            row: what a row is, for messages: "node".
        """

    @abstractmethod
    def check_training(self, y: Tensor, names: Sequence[str] | None, row: str) -> str | None:
        """Raise `ValueError` if the labels of the training rows do not suffice; return a warning, or None."""

    @abstractmethod
    def labelled(self, y: Tensor) -> Tensor:
        """Return a bool tensor of the shape of `y`: True for entries with a label."""

    def num_labelled(self, y: Tensor) -> int:
        """Return the number of rows with at least one label."""
        known = self.labelled(y)
        return int((known.any(dim=1) if known.dim() == 2 else known).sum())

    @property
    def needs_every_label(self) -> bool:
        """Whether each row of a split must have a label."""
        return True

    @abstractmethod
    def no_labels(self, num_rows: int) -> Tensor:
        """Return `y` of rows without a label."""

    def encode(self, y: Tensor) -> Tensor:
        """Return the labels as `loss` takes them."""
        return y

    @abstractmethod
    def describe(self) -> str:
        """Return the task in one or two words, for a summary: "7 classes"."""

    @property
    def default_names(self) -> Sequence[Any]:
        """What classes, labels or targets are called if they have no names."""
        return range(self.num_outputs)

    # --- training ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def loss(self, logits: Tensor, y: Tensor, kind: str | None = None, weights: Tensor | None = None) -> Tensor:
        """Return the mean loss over the labelled entries, a scalar in float32; NaN if there are none.

        Args:
            logits: (M, T), any floating dtype. They are converted to float32 first, since autocast returns shorter floats.
            y: labels of the M rows, as `encode` returns them.
            kind: one of `losses`; None: the first.
            weights: the result of `class_weights`; the mean is then a weighted one.
        """

    def loss_weight(self, y: Tensor, weights: Tensor | None = None) -> float:
        """Return what the mean of `loss` divides by: the number of labelled entries, or the sum of their weights.

        The loss of several sets of rows together is the mean of their losses with these numbers as weights.

        Args:
            y: labels of the rows, as in the data set.
            weights: the result of `class_weights`, on the CPU.
        """
        return float(self.labelled(y).sum())

    def check_loss(self, kind: str | None, data: str) -> None:
        """Raise `ValueError` if the task does not have this loss; `data` names the data set."""
        if kind is not None and kind not in self.losses:
            wants = {"cross_entropy": "classes", "log": "one class per node"}.get(kind, "numbers")
            raise ValueError(f"loss={kind} needs {wants}, and {data} is {self.name}; use loss={' or '.join(self.losses)}.")

    def class_weights(self, given: str | Sequence[float], y: Tensor) -> Tensor:
        """Return the weights of classes for `loss`, float32.

        Args:
            given: "balanced", or numbers.
            y: labels of the training rows.

        Raises:
            ValueError: if the numbers do not fit, a class has no training row, or the task has no classes.
        """
        self._refuse("class weights", "leave class_weights out")

    # --- logits -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def values(self, logits: Tensor) -> Tensor:
        """Return what the logits say, (M, T): probabilities, or numbers in the units of the labels."""

    @abstractmethod
    def columns(self, values: Mapping[str, np.ndarray], names: Sequence[Any], thresholds: Sequence[float] | None) -> dict[str, Any]:
        """Return the columns of a table of predictions by name: arrays (M,).

        Args:
            values: (M, T) by kind: "values", and perhaps "spread" and "calibrated".
            names: of classes, labels or targets.
            thresholds: see `fit_thresholds`; None: one half.
        """

    # --- scores -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def score(self, metric: str, logits: Tensor, y: Tensor, thresholds: Sequence[float] | None = None) -> float:
        """Return a score of the labelled rows. `check_scorable` says when that is possible.

        Raises:
            MetricError: if the score is not defined for these labels.
        """

    @abstractmethod
    def check_scorable(self, metric: str, y: Tensor) -> None:
        """Raise `MetricError` if `score` cannot score these labels, of which some are known."""

    def check_metric(self, metric: str, data: str) -> None:
        """Raise `ValueError` if the task does not have this score; `data` names the data set."""
        if metric not in LARGER_IS_BETTER:
            raise ValueError(f"{data}: metric must be one of {', '.join(LARGER_IS_BETTER)}, got {metric[:50]!r}.")
        if metric not in self.metrics:
            raise ValueError(f"{data}: metric {metric} does not fit {self.name} labels; use {', '.join(self.metrics)}.")

    def fit_thresholds(self, metric: str, logits: Tensor, y: Tensor) -> tuple[float, ...] | None:
        """Return the thresholds of probabilities that give the best score of these rows; None if the score has none."""
        return None

    # --- features that not every task has -----------------------------------------------------------------------------

    def calibration_columns(self, logits: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return logits and labels of the labelled rows, a pair for each temperature: float64 (m,) or (m, T), and (m,)."""
        self._refuse("calibrated probabilities", "leave --calibrate out")

    def calibration_losses(self, logits: Tensor, truth: Tensor) -> Tensor:
        """Return the negative log-likelihood of each row of a pair of `calibration_columns`."""
        self._refuse("calibrated probabilities", "leave --calibrate out")

    def confidence(self, logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Return stated probabilities and whether they came true, float64 (m,) each, of a pair of `calibration_columns`."""
        self._refuse("calibrated probabilities", "leave --calibrate out")

    def divergence(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return KL(teacher || student) of two logits in float32, summed over all entries."""
        self._refuse("distillation", "leave distillation out")

    @property
    def label_width(self) -> int:
        """Columns of the labels as inputs."""
        self._refuse("labels as inputs", "set label_inputs=0")

    def label_rows(self, y: Tensor) -> Tensor:
        """Return labels as inputs, float32 (M, label_width); 0 where there is none."""
        self._refuse("labels as inputs", "set label_inputs=0")

    def predicted_rows(self, logits: Tensor) -> Tensor:
        """Return predictions in the form of `label_rows`."""
        self._refuse("labels as inputs", "set label_inputs=0")

    def _refuse(self, feature: str, remedy: str) -> NoReturn:
        raise ValueError(f"a {self.name} task has no {feature}; {remedy}.")


def check_logits(logits: Tensor) -> None:
    """Raise `MetricError` if a logit is not finite."""
    if not bool(torch.isfinite(logits).all()):
        bad = int((~torch.isfinite(logits)).any(dim=1).nonzero()[0])
        raise MetricError(f"the logits of scored node {bad} are not finite; lower the learning rate, or use amp=none.")


def class_weight_numbers(given: Sequence[float], count: int, what: str) -> Tensor:
    """Return numbers of `class_weights` as float32 (count,), or raise `ValueError`."""
    if len(given) != count or not all(np.isfinite(w) and w > 0 for w in given):
        raise ValueError(f"class_weights must be balanced or {count} positive numbers, {what}; got {list(given)}.")
    return torch.tensor(list(given), dtype=torch.float32)


def describe_tensor(tensor: Tensor) -> str:
    """Return dtype and shape of a tensor, for messages."""
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
