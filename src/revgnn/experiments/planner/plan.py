"""`Plan`: what a run needs. `Planner` makes plans for a data set and a device."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from revgnn.experiments.planner.cost import Cost, Seconds
from revgnn.experiments.planner.memory import Rehearsals
from revgnn.experiments.planner.rehearse import PHASES, Memory
from revgnn.experiments.planner.size import DataSize
from revgnn.train.config import RunConfig


class Limits(NamedTuple):
    """What a run may need; None: any amount."""

    memory_bytes: float | None = None
    hours: float | None = None


class Plan(NamedTuple):
    """What a run needs.

    Attributes:
        run: its configuration.
        device: "cpu" or "cuda".
        parameters: numbers that are learned.
        memory: what is alive on the device at the peak of a training step, by part.
        evaluation: likewise, of an evaluation.
        waiting_bytes: the data set in the memory of the host, from which parts are cut, with the part that is prepared for the next
            step; 0 if the graph is not cut.
        seconds: of a step, an epoch, an evaluation and the whole run; None if no step was timed.
    """

    run: RunConfig
    device: str
    parameters: int
    memory: Memory
    evaluation: Memory
    waiting_bytes: float
    seconds: Seconds | None

    @property
    def peak_bytes(self) -> float:
        """The larger of training and evaluation."""
        return max(self.memory.total, self.evaluation.total)

    @property
    def needed_bytes(self) -> float:
        """What the device must have. If it is the CPU, the data set is in the same memory."""
        return self.peak_bytes + (self.waiting_bytes if self.device == "cpu" else 0.0)

    def fits(self, limits: Limits) -> bool:
        """Whether the run stays within the limits.

        Raises:
            ValueError: for a limit of hours if no step was timed.
        """
        if limits.hours is not None:
            if self.seconds is None:
                raise ValueError("hours cannot be planned without a probe; leave out --no-probe.")
            if self.seconds.total > 3600 * limits.hours:
                return False
        return limits.memory_bytes is None or self.needed_bytes <= limits.memory_bytes

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the configuration as JSON values; bytes are whole numbers."""
        model = self.run.model

        def rounded(memory: Memory) -> dict[str, int]:
            return {**{name: round(value) for name, value in memory._asdict().items()}, "total": round(memory.total)}

        return {
            "family": model.family,
            "depth": model.depth,
            "channels": model.channels,
            "gradient": model.effective_gradient,
            "parts": self.run.parts,
            "evaluation_parts": self.run.evaluation.parts,
            "device": self.device,
            "parameters": self.parameters,
            "memory_bytes": rounded(self.memory),
            "evaluation_bytes": rounded(self.evaluation),
            "waiting_bytes": round(self.waiting_bytes),
            "needed_bytes": round(self.needed_bytes),
            "seconds": None if self.seconds is None else self.seconds._asdict(),
        }


@dataclass
class Planner:
    """Makes plans of runs on one data set and one device.

    Attributes:
        data: the sizes of the data set.
        device: where the run is to train.
        cost: seconds, fitted to a probe; None: plans have no seconds.
    """

    data: DataSize
    device: torch.device
    cost: Cost | None = None
    _rehearsals: Rehearsals = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._rehearsals = Rehearsals(self.data, self.device)

    def plan(self, run: RunConfig) -> Plan:
        """Return what a run needs."""
        found = self._rehearsals.of(run)
        training = max((found.peaks[phase] for phase in PHASES[:-1]), key=lambda memory: memory.total)
        evaluation = found.peaks[PHASES[-1]]
        cut = max(run.parts, run.evaluation.parts) > 1 and self.data.row == "node"
        return Plan(
            run=run,
            device=self.device.type,
            parameters=found.parameters,
            memory=training,
            evaluation=evaluation,
            waiting_bytes=self.data.nbytes + (training.graph if run.parts > 1 else 0.0) if cut else 0.0,
            seconds=None if self.cost is None else self.cost.of(run, self.data),
        )
