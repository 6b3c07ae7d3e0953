"""`plan`: what a run needs, before anything runs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from revgnn._words import speaks_python
from revgnn.api.place import naming, place
from revgnn.api.training import compose_run
from revgnn.experiments.compose import compose
from revgnn.experiments.planner.for_run import free_memory, planner_for
from revgnn.experiments.planner.plan import Limits, Plan
from revgnn.experiments.planner.search import inverse, strategies
from revgnn.experiments.planner.spread.job import Job, Link, Mode, parse_link
from revgnn.experiments.planner.spread.plan import SpreadPlanner
from revgnn.experiments.planner.spread.spread_plan import Fewest, SpreadPlan
from revgnn.train.config import RunConfig


class Planned(NamedTuple):
    """What a run needs, and what would fit.

    Attributes:
        run: the plan of the run: `memory` and `evaluation` by part, in bytes, `parameters`, `seconds`, and its configuration `run`.
        strategies: the plan under each gradient strategy, by name.
        free_bytes: what may be planned on the device.
        deepest, widest, fewest_parts: the plans with the largest depth, the largest width and the fewest parts within the limits;
            None if none fits, or no limits are given.
        spread: the plan on `ranks` processes by what is spread ("parts", "graph", "layers", "weights"), or why it cannot be.
        fewest_ranks: for each way, the plan with the fewest processes within `memory_bytes`; None if no number fits, or why it
            cannot be; empty without `memory_bytes`.
    """

    run: Plan
    strategies: dict[str, Plan]
    free_bytes: float
    deepest: Plan | None
    widest: Plan | None
    fewest_parts: Plan | None
    spread: dict[Mode, SpreadPlan | str]
    fewest_ranks: dict[Mode, Fewest]


@speaks_python()
def plan(
    data: Any = None,
    *,
    task: str | None = None,
    preset: str | RunConfig | None = None,
    settings: Mapping[str, Any] | None = None,
    memory_bytes: float | None = None,
    hours: float | None = None,
    ranks: int | None = None,
    link: str | Link | None = None,
    probe: bool = True,
) -> Planned:
    """Return what a run needs on its device: memory by part, and seconds. Nothing of its size is allocated.

    ```python
    planned = revgnn.plan(preset="revgnn-wide", memory_bytes=11e9, probe=False)
    planned.run.memory.total, planned.deepest.run.model.depth
    ```

    Args:
        data, task, preset, settings: as in `revgnn.fit`. None: the data set of the preset, whose files need not be there.
        memory_bytes: what may be used. None: what is free on the device, if hours are given.
        hours: what the whole run may take; None: any time.
        ranks: plan so many processes too.
        link: between them, such as "300GB/s", or a `Link` with a latency. None: plans of several processes have no seconds.
        probe: time a few steps, without which plans have no seconds.

    Raises:
        ValueError, TypeError: if data or settings cannot be used, or hours are limited without a probe.
        OSError: if a file cannot be read.
    """
    if hours is not None and not probe:
        raise ValueError("hours are known from the probe; leave out probe=False, or hours.")
    job = _job(ranks, link)
    temporary = Path(tempfile.mkdtemp(prefix="revgnn-"))
    try:
        changes = {**(settings or {}), **({} if task is None else {"data.task": task})}
        with naming(temporary):
            if data is None:
                config = compose(preset=preset, changes=changes)
            else:
                config, _ = compose_run(place(data, temporary, needs_labels=task != "links"), preset, changes)
            planner = planner_for(config, timed=probe, widths=hours is not None)
        free = free_memory(planner.device)
        limits = Limits(free.memory_bytes if memory_bytes is None else memory_bytes, hours)
        answers = (None, None, None) if memory_bytes is None and hours is None else inverse(planner, config, limits)
        spread = SpreadPlanner(planner)
        plans = {} if job is None else spread.plans(config, job)
        fewest = {} if memory_bytes is None else spread.fewest_of_all(config, memory_bytes)
        own = planner.plan(config), dict(strategies(planner, config)), free.memory_bytes or 0.0
        return Planned(*own, *answers, plans, fewest)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _job(ranks: int | None, link: str | Link | None) -> Job | None:
    if ranks is None:
        if link is not None:
            raise ValueError("link connects several processes; say how many, such as ranks=8.")
        return None
    if ranks < 1:
        raise ValueError(f"ranks must be 1 or more, got {ranks}.")
    return Job(ranks, Link(parse_link(link)) if isinstance(link, str) else link)
