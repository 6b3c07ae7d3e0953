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
from revgnn.train.config import RunConfig


class Planned(NamedTuple):
    """What a run needs, and what would fit.

    Attributes:
        run: the plan of the run: `memory` and `evaluation` by part, in bytes, `parameters`, `seconds`, and its configuration `run`.
        strategies: the plan under each gradient strategy, by name.
        free_bytes: what may be planned on the device.
        deepest, widest, fewest_parts: the plans with the largest depth, the largest width and the fewest parts within the limits;
            None if none fits, or no limits are given.
    """

    run: Plan
    strategies: dict[str, Plan]
    free_bytes: float
    deepest: Plan | None
    widest: Plan | None
    fewest_parts: Plan | None


@speaks_python()
def plan(
    data: Any = None,
    *,
    task: str | None = None,
    preset: str | RunConfig | None = None,
    settings: Mapping[str, Any] | None = None,
    memory_bytes: float | None = None,
    hours: float | None = None,
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
        probe: time a few steps, without which plans have no seconds.

    Raises:
        ValueError, TypeError: if data or settings cannot be used, or hours are limited without a probe.
        OSError: if a file cannot be read.
    """
    if hours is not None and not probe:
        raise ValueError("hours are known from the probe; leave out probe=False, or hours.")
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
        return Planned(planner.plan(config), dict(strategies(planner, config)), free.memory_bytes or 0.0, *answers)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
