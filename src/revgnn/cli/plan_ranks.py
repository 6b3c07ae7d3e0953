"""What `revgnn plan` says of several processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from revgnn.cli.text import bytes_text, seconds_text, table, wrapped

if TYPE_CHECKING:
    from revgnn.experiments.planner.plan import Planner
    from revgnn.experiments.planner.spread.job import Job, Mode
    from revgnn.experiments.planner.spread.spread_plan import Fewest, SpreadPlan
    from revgnn.train.config import RunConfig


def job_of(ranks: int | None, link: str | None, latency: str | None) -> Job | None:
    """Return the job that the options describe; None for one process.

    Raises:
        ValueError: if a speed or a latency cannot be read, or is given without what it belongs to.
    """
    from revgnn.experiments.planner.spread.job import Job, Link, parse_duration, parse_link

    if latency is not None and link is None:
        raise ValueError("--latency is that of a --link, such as --link 300GB/s; give both.")
    if link is not None and ranks is None:
        raise ValueError("--link connects several processes; say how many, such as --ranks 8.")
    speed = None if link is None else Link(parse_link(link), 0.0 if latency is None else parse_duration(latency))
    return None if ranks is None else Job(ranks, speed)


class ManyProcesses:
    """The plans of a run on several processes.

    Args:
        job: how many processes, and their link; None: none were asked for.
        memory_bytes: the limit for which the fewest processes are searched; None: no search.
    """

    def __init__(self, planner: Planner, run: RunConfig, job: Job | None, memory_bytes: float | None) -> None:
        from revgnn.experiments.planner.spread.plan import SpreadPlanner

        spread = SpreadPlanner(planner)
        self.job, self.memory_bytes, self._known_graph = job, memory_bytes, planner.graph is not None
        self.plans: dict[Mode, SpreadPlan | str] = {} if job is None else spread.plans(run, job)
        self.fewest: dict[Mode, Fewest] = {} if memory_bytes is None else spread.fewest_of_all(run, memory_bytes)

    def as_dict(self) -> dict[str, Any]:
        """Return what was found as JSON values."""

        def shown(plan: Fewest) -> Any:
            return plan if plan is None else {"refused": plan} if isinstance(plan, str) else plan.as_dict()

        link = None if self.job is None else self.job.link
        return {
            "ranks": None if self.job is None else self.job.ranks,
            "link": None if link is None else link._asdict(),
            "spread": {mode: shown(plan) for mode, plan in self.plans.items()},
            "fewest_ranks": {mode: shown(plan) for mode, plan in self.fewest.items()},
        }

    def text(self, width: int | None) -> str:
        """Return a table for each question that was asked."""
        return "\n\n".join(filter(None, [self._plans_text(width), self._fewest_text(width)]))

    def _plans_text(self, width: int | None) -> str:
        if self.job is None:
            return ""
        head = (
            "spread",
            "memory a process",
            "sent a step",
            "step",
            "compute",
            "exchange",
            "bubble",
            "waiting",
            "speed-up",
            "epoch",
        )
        rows = [_row(mode, plan) for mode, plan in self.plans.items() if not isinstance(plan, str)]
        notes = [f"{mode}: {plan}" for mode, plan in self.plans.items() if isinstance(plan, str)]
        link = self.job.link
        speed = "" if link is None else f" over {bytes_text(link.bytes_per_second)}/s, latency {1e6 * link.latency_seconds:g} us"
        if not self._known_graph and "graph" in self.plans:
            notes.append("graph: rows to fetch are those of a random graph of this size; a real one needs fewer")
        lines = [wrapped(line, width, "  ") for line in (f"{self.job.ranks} processes{speed}", *notes)]
        return "\n".join([lines[0], table(head, rows, width), *lines[1:]])

    def _fewest_text(self, width: int | None) -> str:
        if self.memory_bytes is None:
            return ""
        rows = []
        for mode, plan in self.fewest.items():
            if plan is None or isinstance(plan, str):
                rows.append((mode, None, "-", plan or "no number of processes fits"))
            else:
                rows.append((mode, plan.ranks, bytes_text(plan.needed_bytes), ""))
        return table((f"within {bytes_text(self.memory_bytes)}", "fewest processes", "memory a process", ""), rows, width)


def _row(mode: str, plan: SpreadPlan) -> tuple[object, ...]:
    where = plan.where
    seconds = [None] * 5 if where is None else [where.step, *where]
    speed_up = "-" if plan.speed_up is None else f"{plan.speed_up:.2f}"
    memory = bytes_text(plan.needed_bytes)
    return mode, memory, bytes_text(plan.sent_bytes), *map(seconds_text, seconds), speed_up, seconds_text(plan.epoch_seconds)
