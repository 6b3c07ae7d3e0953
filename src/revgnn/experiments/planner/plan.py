"""`Plan`: what a run needs. `Planner` makes plans for a data set and a device."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch

from revgnn.experiments.planner.cost import Cost, Seconds
from revgnn.experiments.planner.memory import Rehearsals
from revgnn.experiments.planner.rehearse import Memory, rehearse_evaluation, rehearse_step
from revgnn.experiments.planner.size import DataSize
from revgnn.graph import Graph
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
        seconds: of a step, an epoch, an evaluation and the whole run; None if no step was timed. Plans of another width have them
            only if two widths were timed.
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

    def training_bytes(self) -> float:
        """Return what training needs on the device."""
        return self.memory.total + self.needed_bytes - self.peak_bytes

    def evaluation_bytes(self) -> float:
        """Return what an evaluation needs on the device."""
        return self.evaluation.total + self.needed_bytes - self.peak_bytes

    @property
    def needed_bytes(self) -> float:
        """What the device must have. If it is the CPU, the data set is in the same memory."""
        return self.peak_bytes + (self.waiting_bytes if self.device == "cpu" else 0.0)

    def fits(self, limits: Limits) -> bool:
        """Whether the run stays within the limits; raises what `share` raises."""
        return self.share(limits) <= 1.0

    def share(self, limits: Limits) -> float:
        """Return what the run needs as a share of the limits: of memory or of hours, whichever is larger.

        Raises:
            ValueError: for a limit of hours if no step was timed.
        """
        share = 0.0 if limits.memory_bytes is None else self.needed_bytes / limits.memory_bytes
        if limits.hours is None:
            return share
        if self.seconds is None:
            raise ValueError("hours are planned from a probe, of two widths for plans of other widths; time some steps first.")
        return max(share, self.seconds.total / (3600 * limits.hours))

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
        graph: of the data set, if it is loaded.
    """

    data: DataSize
    device: torch.device
    cost: Cost | None = None
    graph: Graph | None = None
    _steps: Rehearsals = field(init=False, repr=False)
    _evaluations: Rehearsals = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._steps = Rehearsals(rehearse_step, self.data, self.device)
        self._evaluations = Rehearsals(rehearse_evaluation, self.data, self.device)

    def plan(self, run: RunConfig) -> Plan:
        """Return what a run needs."""
        found = self._steps.of(run)
        training, evaluation = found.peak, self._evaluations.of(run).peak
        cut = max(run.parts, run.evaluation.parts) > 1 and self.data.row == "node"
        return Plan(
            run=run,
            device=self.device.type,
            parameters=found.parameters,
            memory=training,
            evaluation=evaluation,
            waiting_bytes=self.data.nbytes + (training.graph if run.parts > 1 else 0.0) if cut else 0.0,
            seconds=self.cost.of(run, self.data) if self.cost is not None and self.cost.knows(run) else None,
        )
