"""What a training run tells those who watch it. A hook is a function of one event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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


Event = Started | Stepped | EpochEnded
Hook = Callable[[Event], None]
