"""The progress of a training run: live lines in a terminal, occasional plain lines elsewhere.

Both name the phase a command is in from its start on, and always show the last and the best scores.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from revgnn.cli.phases import LatePhases
from revgnn.cli.tables import report_text
from revgnn.cli.text import bytes_text, flow, line_width, score_text, seconds_text, wrapped

if TYPE_CHECKING:
    from revgnn.train.run.events import EpochEnded, Event, Started

LOG_WIDTH = 132
"""Characters of a line in a file, without $COLUMNS."""

FIRST_STEP = "first step, may compile"


@contextmanager
def progress(*, quiet: bool, as_json: bool = False) -> Iterator[Display]:
    """Yield the display that fits the output. What it shows goes to stdout, with `as_json` to stderr.

    `close` ends it before results are printed; the end of the block does so too.
    """
    if quiet:
        display = Display(err=as_json)
    elif (sys.stderr if as_json else sys.stdout).isatty():
        display = _LiveLines(err=as_json)
    else:
        display = _PlainLines(err=as_json)
    try:
        yield display
    finally:
        display.close()


class Display:
    """What is shown while a command trains: this one shows nothing. It is a hook.

    Attributes:
        heading: returns the lines that are printed when a run starts.
        brief: in a file, a run has lines only if it takes a moment.
        footer: a line below those of the run, where lines are redrawn.
        shows_test: whether test scores are shown; not where runs are compared that one is chosen from.
    """

    def __init__(self, *, err: bool) -> None:
        self.err = err
        self.heading = heading
        self.brief = False
        self.footer = ""
        self.shows_test = True

    def __call__(self, event: Event) -> None:
        """Show an event of the training."""

    def phase(self, text: str) -> None:
        """Show what the command does next, until something else is shown."""

    def say(self, text: str, indent: str = "  ") -> None:
        """Print lines that stay. A long one goes on below `indent`."""

    def close(self) -> None:
        """End the display. It may be called again."""


def said(text: str, width: int | None, indent: str) -> str:
    """Return lines of text wrapped to `width`, each going on below `indent`."""
    return "\n".join(wrapped(line, width, indent) for line in text.splitlines())


def heading(event: Started, width: int | None) -> str:
    """Return the lines printed when training starts: data set, network, device and folder."""
    config = event.config
    model = config.model
    extent = "an equilibrium" if model.family == "equilibrium" else f"{model.depth} layers"
    shape = f"{model.family}{', weight-tied' if model.tied else ''}, {extent} of {model.channels} channels"
    lines = [event.dataset, f"{shape}, {event.parameters:,} parameters, on {event.device}; folder {event.folder}"]
    if event.epoch:
        lines.append(f"continuing after epoch {event.epoch} of {config.epochs}")
    lines = [wrapped(line, width, "  ") for line in lines]
    if event.tables is not None:
        lines.insert(0, report_text(event.tables, event.spec_file))
    return "\n".join(lines)


class Scores:
    """The last and the best scores of a run, its time and memory."""

    def __init__(self, event: Started, *, shows_test: bool = True) -> None:
        self.epochs = event.config.epochs
        self._shows_test = shows_test
        self.epoch = event.epoch
        self.last: EpochEnded | None = None
        self._evaluated: EpochEnded | None = None
        self._best = None if event.best is None else (event.best.epoch, event.best.valid, event.best.test)
        self._times: list[float] = []

    def add(self, event: EpochEnded) -> None:
        """Take in an epoch. One without evaluation leaves the scores as they are."""
        self.epoch = event.epoch
        self._times.append(event.seconds + event.evaluation_seconds)
        self.last = event
        if event.valid is not None:
            self._evaluated = event
        if event.is_best:
            self._best = (event.epoch, event.valid, event.test)

    @property
    def best_text(self) -> str:
        """The best validation score and its epoch."""
        return "best -" if self._best is None else f"best {score_text(self._best[1])} (epoch {self._best[0]})"

    @property
    def seconds_left(self) -> float:
        """Mean time of an epoch, with evaluation, times the remaining epochs. The first epoch is slower and does not count."""
        times = self._times[1:] or self._times
        return (self.epochs - self.epoch) * sum(times) / max(len(times), 1)

    def last_fields(self) -> list[str]:
        """Return loss and scores of the last epoch that has them."""
        if self.last is None:
            return ["no epoch yet"]
        loss = "-" if self.last.loss is None else f"{self.last.loss:.4f}"
        names = ("train", "valid", "test") if self._shows_test else ("train", "valid")
        scores = [f"{name} {score_text(getattr(self._evaluated, name, None))}" for name in names]
        return [f"loss {loss}", *scores]

    def best_fields(self) -> list[str]:
        """Return the best validation score, the test score of that epoch, and the epoch."""
        if self._best is None:
            return ["best", "valid -"]
        epoch, valid, test = self._best
        scores = [f"valid {score_text(valid)}", *([f"test {score_text(test)}"] if self._shows_test else [])]
        return ["best", *scores, f"epoch {epoch}"]


def cost_fields(event: EpochEnded | None) -> list[str]:
    """Return memory and time of an epoch, and what went wrong in it."""
    if event is None:
        return []
    fields = [f"peak {bytes_text(event.peak_bytes)}", f"{seconds_text(event.seconds)}/epoch"]
    if event.failed_solves:
        fields.append(f"{event.failed_solves} solves failed")
    if event.skipped_steps:
        fields.append(f"{event.skipped_steps} steps skipped")
    return fields


class _PlainLines(Display):
    """A line for the first and the last epoch. Between them, lines become less frequent as training goes on."""

    def __init__(self, *, err: bool) -> None:
        super().__init__(err=err)
        self._late = LatePhases(err=err)
        self._scores: Scores | None = None
        self._start = self._last_line = time.monotonic()
        self._width = line_width(err=err)
        self.phase("loading PyTorch")

    def __call__(self, event: Event) -> None:
        from revgnn.train.run.events import Ended, EpochEnded, Evaluating, Started

        if isinstance(event, Started):
            self._scores = Scores(event, shows_test=self.shows_test)
            self._start = time.monotonic()
            self._last_line = self._start if self.brief else float("-inf")
            self._print(self.heading(event, self._width))
            self.phase(FIRST_STEP)
        elif isinstance(event, Evaluating):
            self.phase("evaluating" if event.epoch == 1 else "")
        elif isinstance(event, EpochEnded):
            self._epoch(event)
        elif isinstance(event, Ended):
            self.phase("")

    def _epoch(self, event: EpochEnded) -> None:
        assert self._scores is not None  # every run starts with `Started`
        scores, now = self._scores, time.monotonic()
        scores.add(event)
        self.phase("")
        is_last = event.epoch == scores.epochs and not self.brief
        if is_last or now - self._last_line >= max(2.0, (now - self._start) / 20):
            self._last_line = now
            fields = [f"epoch {event.epoch}/{scores.epochs}", *scores.last_fields(), scores.best_text, *cost_fields(event)]
            self._print(flow([*fields, f"left {seconds_text(scores.seconds_left)}"], self._width or LOG_WIDTH))

    def phase(self, text: str) -> None:
        self._late(text)

    def say(self, text: str, indent: str = "  ") -> None:
        self._print(said(text, self._width, indent))

    def close(self) -> None:
        self._late("")

    def _print(self, text: str) -> None:
        typer.echo(text, err=self.err)


class _LiveLines(Display):
    """Lines that are redrawn: epoch, bar, step and time left; the last loss and scores; the best; memory and time."""

    def __init__(self, *, err: bool) -> None:
        super().__init__(err=err)
        from rich.console import Console
        from rich.live import Live
        from rich.progress import BarColumn, Progress, TextColumn
        from rich.spinner import Spinner

        self._console = console = Console(stderr=err)
        bar = BarColumn(bar_width=24 if console.width >= 80 else 12)
        columns = (TextColumn("epoch {task.completed}/{task.total}"), bar, TextColumn("{task.fields[note]}"))
        self._bar = Progress(*columns, console=console)
        self._task = self._bar.add_task("training", total=None, note="")
        self._spinner = Spinner("dots")
        self._scores: Scores | None = None
        self._phase, self._since, self._left_text = "", time.monotonic(), ""
        self._live = Live(get_renderable=self._frame, console=console)
        self.phase("loading PyTorch")
        self._live.start(refresh=True)

    def _frame(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        passed, width = int(time.monotonic() - self._since), self._console.width
        note = f"{self._phase}  {passed} s" if 0 < passed < 60 else self._phase
        note = f"{self._phase}  {seconds_text(passed)}" if passed >= 60 else note
        if self._scores is None:
            self._spinner.update(text=note if len(note) < width - 2 else f"{note[: width - 3]}…")
            return self._spinner if note else Text()
        if self._phase:
            self._bar.update(self._task, note=note)
        best, cost = flow(self._scores.best_fields(), width), flow(cost_fields(self._scores.last), width)
        lines = [flow(["last", *self._scores.last_fields()], width)]
        lines += [f"{best}  {cost}"] if len(best) + len(cost) + 2 <= width else [best, cost]
        if self.footer:
            lines.append(wrapped(self.footer, width, "  "))
        return Group(self._bar, *map(Text, lines))

    def __call__(self, event: Event) -> None:
        from revgnn.train.run.events import Ended, EpochEnded, Evaluating, Started, Stepped

        if isinstance(event, Started):
            self._left_text = ""
            self._print(self.heading(event, self._console.width))
            self._bar.update(self._task, total=event.config.epochs, completed=event.epoch, note="")
            self._scores = Scores(event, shows_test=self.shows_test)
            self._begin_phase(FIRST_STEP)
        elif isinstance(event, Stepped):
            self._phase = ""
            step = f"step {event.step}/{event.steps}" if event.steps > 1 else ""
            self._bar.update(self._task, note=f"{step}  {self._left_text}".strip())
        elif isinstance(event, Evaluating):
            self._begin_phase(f"evaluating  {self._left_text}".strip())
        elif isinstance(event, EpochEnded):
            assert self._scores is not None  # every run starts with `Started`
            self._phase = ""
            self._scores.add(event)
            self._left_text = f"left {seconds_text(self._scores.seconds_left)}"
            self._bar.update(self._task, completed=event.epoch, note=self._left_text)
        elif isinstance(event, Ended):
            self._phase = ""

    def phase(self, text: str) -> None:
        self._begin_phase(text)
        if self._live.is_started:  # at once, since what was shown before is over
            self._live.refresh()

    def _begin_phase(self, text: str) -> None:
        self._phase, self._since = text, time.monotonic()

    def say(self, text: str, indent: str = "  ") -> None:
        self._print(said(text, self._console.width, indent))

    def close(self) -> None:
        self._live.transient = self._scores is None  # a phase leaves nothing behind
        self._live.stop()

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False)
