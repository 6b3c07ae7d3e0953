"""The progress of a training run: live lines in a terminal, occasional plain lines elsewhere. Both are hooks."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from revgnn.cli.tables import report_text
from revgnn.cli.text import bytes_text, score_text, seconds_text

if TYPE_CHECKING:
    from revgnn.train.run.events import EpochEnded, Event, Hook, Started


@contextmanager
def progress(*, quiet: bool) -> Iterator[list[Hook]]:
    """Yield the hooks that fit the output; none if `quiet`."""
    if quiet:
        yield []
    elif sys.stdout.isatty():
        with _LiveLines() as lines:
            yield [lines]
    else:
        yield [_PlainLines()]


def heading(event: Started) -> str:
    """Return the lines printed when training starts: data set, network, device and folder."""
    config = event.config
    model = config.model
    extent = "an equilibrium" if model.family == "equilibrium" else f"{model.depth} layers"
    shape = f"{model.family}{', weight-tied' if model.tied else ''}, {extent} of {model.channels} channels"
    lines = [event.dataset, f"{shape}, {event.parameters:,} parameters, on {event.device}; folder {event.folder}"]
    if event.tables is not None:
        lines.insert(0, report_text(event.tables, event.spec_file))
    if event.epoch:
        lines.append(f"continuing after epoch {event.epoch} of {config.epochs}")
    return "\n".join(lines)


class _TimeLeft:
    """An estimate of the remaining time: mean time of an epoch, with evaluation, times the remaining epochs.

    The first epoch is slower and does not count.
    """

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
    problems = f"  {event.failed_solves} solves failed" if event.failed_solves else ""
    problems += f"  {event.skipped_steps} steps skipped" if event.skipped_steps else ""
    return f"loss {loss}  {scores}{best} peak {bytes_text(event.peak_bytes)}  {seconds_text(event.seconds)}/epoch{problems}"


class _PlainLines:
    """A line for the first and the last epoch. Between them, lines become less frequent as training goes on."""

    def __init__(self) -> None:
        self._time_left = _TimeLeft()
        self._epochs = 0
        self._start = self._last_line = time.monotonic()

    def __call__(self, event: Event) -> None:
        from revgnn.train.run.events import EpochEnded, Started

        if isinstance(event, Started):
            self._time_left, self._epochs = _TimeLeft(), event.config.epochs
            self._start, self._last_line = time.monotonic(), float("-inf")
            typer.echo(heading(event))
        elif isinstance(event, EpochEnded):
            left, now = self._time_left(event, self._epochs), time.monotonic()
            if event.epoch == self._epochs or now - self._last_line >= max(2.0, (now - self._start) / 20):
                self._last_line = now
                typer.echo(f"epoch {event.epoch}/{self._epochs}  {_epoch_text(event)}  left {seconds_text(left)}")


class _LiveLines:
    """Two lines that are redrawn: epoch, bar, step and time left; loss, scores, memory and time of the last epoch."""

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
        self._left_text = ""

    def __enter__(self) -> _LiveLines:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def __call__(self, event: Event) -> None:
        from revgnn.train.run.events import Started, Stepped

        if isinstance(event, Started):
            self._time_left, self._epochs, self._left_text = _TimeLeft(), event.config.epochs, ""
            self._live.console.print(heading(event), highlight=False, markup=False)
            self._progress.update(self._task, total=self._epochs, completed=event.epoch, note="compiling kernels")
            self._scores.plain = ""
        elif isinstance(event, Stepped):
            step = f"step {event.step}/{event.steps}" if event.steps > 1 else ""
            self._progress.update(self._task, note=f"{step} {self._left_text}".strip())
        else:
            self._left_text = f"left {seconds_text(self._time_left(event, self._epochs))}"
            self._progress.update(self._task, completed=event.epoch, note=self._left_text)
            self._scores.plain = _epoch_text(event)
