"""`revgnn train --fit`, and what is printed when a run is out of memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from revgnn.cli.errors import is_out_of_memory
from revgnn.cli.text import bytes_text, parse_bytes

if TYPE_CHECKING:
    from revgnn.cli.progress import Display
    from revgnn.experiments.planner.plan import Limits
    from revgnn.train import RunConfig


def fitted(run: RunConfig, memory: str | None, show: Display) -> RunConfig:
    """Return the run, changed until it fits, and print what was changed.

    Args:
        memory: what it may use, such as "11GB"; None: what is free on its device.
        show: where it is printed.

    Raises:
        ValueError: if it cannot be made to fit.
    """
    show.phase("planning what fits into memory")
    from revgnn.experiments.planner.for_run import free_memory, planner_for
    from revgnn.experiments.planner.search import fit

    planner = planner_for(run, timed=False)
    limits = free_memory(planner.device) if memory is None else _limits(memory)
    found = fit(planner, run, limits)
    limit = bytes_text(limits.memory_bytes or 0.0)
    if found is None:
        needed = bytes_text(planner.plan(run).needed_bytes)
        raise ValueError(
            f"the run needs {needed}, and no number of parts or layers makes it fit into {limit}; use fewer channels "
            "(revgnn plan ... --memory says how many)."
        )
    needed = bytes_text(found.plan.needed_bytes)
    what = "; ".join(found.changes) or "nothing had to be changed"
    show.say(f"{'fit':<12} {what}; the run needs {needed} of {limit}", " " * 13)
    return run.replace(changed_keys(run, found.plan.run))


def changed_keys(run: RunConfig, other: RunConfig) -> dict[str, object]:
    """Return the values of `other`, by dotted key, in which two runs differ."""
    return {key: after for key, (_, after) in run.differences(other).items()}


@contextmanager
def advice_if_out_of_memory(run: RunConfig) -> Iterator[None]:
    """If the block is out of memory, print the plan that would fit, and let the error pass."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            typer.echo(_advice(run), err=True)
        raise


def _advice(run: RunConfig) -> str:
    from revgnn.experiments.planner.for_run import free_memory, planner_for
    from revgnn.experiments.planner.search import fit

    try:
        planner = planner_for(run, timed=False)
        limits = free_memory(planner.device)
        plan, found = planner.plan(run), fit(planner, run, limits)
    except (ValueError, OSError, MemoryError, RuntimeError) as error:
        return f"plan         not made: {' '.join(str(error).split())[:200]}"
    have = bytes_text(limits.memory_bytes or 0.0)
    lines = [f"{'plan':<12} the run needs {bytes_text(plan.needed_bytes)}, and {have} may be used on {planner.device.type}"]
    if found is None:
        lines.append(f"{'':<12} no number of parts or layers makes it fit; use fewer channels")
    elif not found.changes:
        lines.append(f"{'':<12} it fits by this plan, so other processes, or batches larger than expected, took the memory")
    else:
        settings = " ".join(f"--set {key}={value}" for key, value in changed_keys(run, found.plan.run).items())
        lines.append(f"{'':<12} it would fit with {settings} ({bytes_text(found.plan.needed_bytes)}), or let --fit choose")
    return "\n".join(lines)


def _limits(memory: str) -> Limits:
    from revgnn.experiments.planner.plan import Limits

    return Limits(memory_bytes=parse_bytes(memory))
