"""How a run shows itself while it trains: live lines in a terminal, now and then a line elsewhere. Both are hooks."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from revgnn.cli.text import bytes_text, score_text, seconds_text

if TYPE_CHECKING:
    from revgnn.train.run.events import EpochEnded, Event, Hook, Started


@contextmanager
def progress(*, quiet: bool) -> Iterator[list[Hook]]:
    """The hooks that fit where the output goes; none when `quiet`."""
    if quiet:
        yield []
    elif sys.stdout.isatty():
        with _LiveLines() as lines:
            yield [lines]
    else:
        yield [_PlainLines()]


def heading(event: Started) -> str:
    config = event.config
    model = config.model
    extent = "an equilibrium" if model.family == "equilibrium" else f"{model.depth} layers"
    shape = f"{model.family}{', weight-tied' if model.tied else ''}, {extent} of {model.channels} channels"
    lines = [event.dataset, f"{shape}, {event.parameters:,} parameters, on {event.device}; folder {event.folder}"]
    if event.epoch:
        lines.append(f"going on after epoch {event.epoch} of {config.epochs}")
    return "\n".join(lines)


class _TimeLeft:
    """Mean time of an epoch, evaluation included, times the epochs that are left; the first, slower one is dropped."""

    def __init__(self) -> None:
        self._times: list[float] = []

    def __call__(self, event: EpochEnded, epochs: int) -> float:
        self._times.append(event.seconds + event.evaluation_seconds)
        times = self._times[1:] or self._times
        return (epochs - event.epoch) * sum(times) / len(times)


def _epoch_text(event: EpochEnded) -> str:
    scores = "  ".join(f"{name} {score_text(getattr(event, name))}" for name in ("train", "valid", "test"))
    loss = "-" if event.loss is None else f"{event.loss:.4f}"
    best = "*" if event.is_best else " "
    trouble = f"  {event.failed_solves} solves failed" if event.failed_solves else ""
    trouble += f"  {event.skipped_steps} steps skipped" if event.skipped_steps else ""
    return f"loss {loss}  {scores}{best} peak {bytes_text(event.peak_bytes)}  {seconds_text(event.seconds)}/epoch{trouble}"


class _PlainLines:
    """A line for the first and the last epoch, and between them often at first, then ever more seldom."""

    def __init__(self) -> None:
        self._left = _TimeLeft()
        self._epochs = 0
        self._began = self._last = time.monotonic()

    def __call__(self, event: Event) -> None:
        from revgnn.train.run.events import EpochEnded, Started

        if isinstance(event, Started):
            self._left, self._epochs = _TimeLeft(), event.config.epochs
            self._began, self._last = time.monotonic(), float("-inf")
            typer.echo(heading(event))
        elif isinstance(event, EpochEnded):
            left, now = self._left(event, self._epochs), time.monotonic()
            if event.epoch == self._epochs or now - self._last >= max(2.0, (now - self._began) / 20):
                self._last = now
                typer.echo(f"epoch {event.epoch}/{self._epochs}  {_epoch_text(event)}  left {seconds_text(left)}")


class _LiveLines:
    """Two lines that are drawn anew: epoch, bar, step and time left; loss, scores, memory and time of the epoch before."""

    def __init__(self) -> None:
        from rich.console import Group
        from rich.live import Live
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.text import Text

        self._progress = Progress(
            TextColumn("epoch {task.completed}/{task.total}"), BarColumn(bar_width=24), TextColumn("{task.fields[note]}")
        )
        self._task = self._progress.add_task("training", total=None, note="")
        self._scores = Text(no_wrap=True, overflow="ellipsis")
        self._live = Live(Group(self._progress, self._scores))
        self._time_left = _TimeLeft()
        self._epochs = 0
        self._left = ""

    def __enter__(self) -> _LiveLines:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, event: Event) -> None:
        from revgnn.train.run.events import Started, Stepped

        if isinstance(event, Started):
            self._time_left, self._epochs, self._left = _TimeLeft(), event.config.epochs, ""
            self._live.console.print(heading(event), highlight=False, markup=False)
            self._progress.update(self._task, total=self._epochs, completed=event.epoch, note="compiling kernels")
            self._scores.plain = ""
        elif isinstance(event, Stepped):
            step = f"step {event.step}/{event.steps}" if event.steps > 1 else ""
            self._progress.update(self._task, note=f"{step} {self._left}".strip())
        else:
            self._left = f"left {seconds_text(self._time_left(event, self._epochs))}"
            self._progress.update(self._task, completed=event.epoch, note=self._left)
            self._scores.plain = _epoch_text(event)
