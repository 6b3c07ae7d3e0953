"""The events of a training run. A hook is a function that is called with each event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from revgnn.data.tables.report import ReadReport
from revgnn.equilibrium import SolveStatistics
from revgnn.train.config import RunConfig

if TYPE_CHECKING:
    from revgnn.train.run.result import Result


@dataclass(frozen=True)
class BestSoFar:
    """The epoch with the best validation score so far."""

    epoch: int
    valid: float
    test: float | None


@dataclass(frozen=True)
class Started:
    """Training begins, or continues."""

    config: RunConfig
    folder: Path
    dataset: str
    """A summary of the data set in one line."""
    metric: str
    parameters: int
    device: str
    epoch: int
    """Epochs already trained by the run that is resumed; 0 for a new run."""
    tables: ReadReport | None = None
    """What was read, if the data are tables."""
    spec_file: Path | None = None
    """The graph.yaml that the run wrote, if there was none."""
    best: BestSoFar | None = None
    """Of the run that is resumed; None before its first evaluation."""


@dataclass(frozen=True)
class Stepped:
    """A step has been taken, or left out since none of its training nodes has a label."""

    epoch: int
    step: int
    """Number of the step within its epoch, from 1."""
    steps: int
    """Steps of an epoch."""
    loss: float
    """Mean loss of the epoch so far."""


@dataclass(frozen=True)
class Evaluating:
    """All steps of an epoch are done, and its evaluation begins."""

    epoch: int


@dataclass(frozen=True)
class EpochEnded:
    """An epoch is trained and evaluated: one line of metrics.jsonl."""

    epoch: int
    loss: float | None
    """Mean over the labelled training nodes; None if no part had any."""
    train: float | None
    valid: float | None
    test: float | None
    seconds: float
    """Wall time of training, without the evaluation."""
    peak_bytes: int
    """Peak of tensors allocated in the first training epoch, above weights and data."""
    is_best: bool = False
    """Whether the validation score is the best so far."""
    evaluation_seconds: float = 0.0
    skipped_steps: int | None = None
    """Steps skipped since fp16 gradients overflowed; None in other precisions, which skip no step."""
    solves: SolveStatistics | None = None
    """Statistics of the solves of an equilibrium in training; None for other networks."""
    evaluation_solves: SolveStatistics | None = None
    """Statistics of the solves of an equilibrium in evaluation; None for other networks, or if the epoch was not evaluated."""

    @property
    def failed_solves(self) -> int:
        """Solves of training and evaluation that did not converge."""
        return sum(solves.failures for solves in (self.solves, self.evaluation_solves) if solves is not None)


@dataclass(frozen=True)
class Ended:
    """The run is finished and its result is saved. A run that is stopped, or fails, has no such event."""

    folder: Path
    result: Result


Event = Started | Stepped | Evaluating | EpochEnded | Ended
Hook = Callable[[Event], None]
