"""What a training run tells those who watch it. A hook is a function of one event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from revgnn.equilibrium import Solves
from revgnn.train.config import RunConfig


@dataclass(frozen=True)
class Started:
    config: RunConfig
    folder: Path
    dataset: str
    """One line about the data set."""
    metric: str
    parameters: int
    device: str
    epoch: int
    """Epochs done before, by the run that this one goes on with."""


@dataclass(frozen=True)
class Stepped:
    epoch: int
    step: int
    steps: int
    """Steps of the epoch; `step` counts from 1."""
    loss: float


@dataclass(frozen=True)
class EpochEnded:
    """One line of metrics.jsonl."""

    epoch: int
    loss: float | None
    """Mean over the labelled training nodes; None if no part had any."""
    train: float | None
    valid: float | None
    test: float | None
    seconds: float
    """Training alone, without the evaluation."""
    peak_bytes: int
    """Peak of the first epoch the process trained."""
    is_best: bool = False
    evaluation_seconds: float = 0.0
    skipped_steps: int | None = None
    """Steps of the epoch that fp16 gradients overflowed in; None in other precisions, which skip none."""
    solves: Solves | None = None
    """Of an equilibrium's training steps; None for networks that solve nothing."""
    evaluation_solves: Solves | None = None
    """Of its evaluation."""

    @property
    def failed_solves(self) -> int:
        return sum(solves.failures for solves in (self.solves, self.evaluation_solves) if solves is not None)


Event = Started | Stepped | EpochEnded
Hook = Callable[[Event], None]
