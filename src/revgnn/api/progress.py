"""A progress bar for `fit`: epochs, loss and validation score. It works in terminals and notebooks."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from revgnn.train.run.events import EpochEnded, Event, Started


class ProgressBar:
    """A hook that draws a bar, and is a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = Console() if console is None else console
        columns = (TextColumn("epoch {task.completed}/{task.total}"), BarColumn(bar_width=24), TimeRemainingColumn())
        self._progress = Progress(*columns, TextColumn("{task.fields[note]}"), console=self.console)
        self._task = self._progress.add_task("training", total=None, note="")

    def __enter__(self) -> ProgressBar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            self.console.print(event.dataset, highlight=False, markup=False)
            self._progress.update(self._task, total=event.config.epochs, completed=event.epoch, note="compiling kernels")
        elif isinstance(event, EpochEnded):
            loss = "" if event.loss is None else f"loss {event.loss:.4f}"
            score = "" if event.valid is None else f"  valid {event.valid:.4f}"
            self._progress.update(self._task, completed=event.epoch, note=loss + score)
