"""`SpreadPlan`: what a run needs on several processes."""

from __future__ import annotations

from typing import Any, NamedTuple

from revgnn.experiments.planner.rehearse import Memory
from revgnn.experiments.planner.spread.clock import Where
from revgnn.experiments.planner.spread.job import Mode
from revgnn.experiments.planner.spread.shares import Share


class Refused(ValueError):
    """A run that cannot be spread in this way."""


class SpreadPlan(NamedTuple):
    """What a run needs on several processes.

    Attributes:
        mode: what is spread.
        ranks: processes.
        parts: in a step, in all processes together.
        memory, evaluation: of the process that needs most, as in `Plan`.
        waiting_bytes: of the data set in the memory of the host of each process, from which parts are cut.
        sent_bytes: that the process that sends most sends in a step.
        where: what the seconds of a step are spent on; None without a probe, or without the speed of the link.
        alone_seconds: of the same step in one process; None without a probe.
        epoch_seconds: of the steps of an epoch.
        shares: of the graph, one for each process, if it is cut over them.
    """

    mode: Mode
    ranks: int
    parts: int
    device: str
    memory: Memory
    evaluation: Memory
    waiting_bytes: float
    sent_bytes: float
    where: Where | None
    alone_seconds: float | None
    epoch_seconds: float | None
    shares: tuple[Share, ...] = ()

    @property
    def needed_bytes(self) -> float:
        """What the device of a process must have. If it is the CPU, the data set is in the same memory."""
        peak = max(self.memory.total, self.evaluation.total)
        return peak + (self.waiting_bytes if self.device == "cpu" else 0.0)

    @property
    def speed_up(self) -> float | None:
        """How many times as fast as one process the same step is."""
        return None if self.where is None or self.alone_seconds is None else self.alone_seconds / self.where.step

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as JSON values; bytes are whole numbers."""

        def rounded(memory: Memory) -> dict[str, int]:
            return {**{name: round(value) for name, value in memory._asdict().items()}, "total": round(memory.total)}

        return {
            "mode": self.mode,
            "ranks": self.ranks,
            "parts": self.parts,
            "memory_bytes": rounded(self.memory),
            "evaluation_bytes": rounded(self.evaluation),
            "waiting_bytes": round(self.waiting_bytes),
            "needed_bytes": round(self.needed_bytes),
            "sent_bytes": round(self.sent_bytes),
            "seconds": None if self.where is None else {"step": self.where.step, **self.where._asdict()},
            "alone_seconds": self.alone_seconds,
            "epoch_seconds": self.epoch_seconds,
            "speed_up": self.speed_up,
        }


Fewest = SpreadPlan | str | None
"""The plan with the fewest processes that fit; None if no number does; or why the run cannot be spread."""
