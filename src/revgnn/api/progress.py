"""A progress bar for `fit`: epochs, loss, last and best validation score. It works in terminals and notebooks."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from revgnn.train.run.events import EpochEnded, Event, Started


class ProgressBar:
    """A hook that draws a bar, and is a context manager."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = Console() if console is None else console
        bar = BarColumn(bar_width=24 if self.console.width >= 80 else 6)
        columns = (TextColumn("epoch {task.completed}/{task.total}"), bar, TimeRemainingColumn())
        self._progress = Progress(*columns, TextColumn("{task.fields[note]}"), console=self.console)
        self._task = self._progress.add_task("training", total=None, note="")
        self._last = self._best = "-"

    def __enter__(self) -> ProgressBar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            self.console.print(event.dataset, highlight=False, markup=False)
            self._progress.update(self._task, total=event.config.epochs, completed=event.epoch, note="first step, may compile")
            self._last, self._best = "-", "-" if event.best is None else f"{event.best.valid:.4f}"
        elif isinstance(event, EpochEnded):
            loss = "" if event.loss is None else f"loss {event.loss:.4f}"
            if event.valid is not None:
                self._last = f"{event.valid:.4f}"
                self._best = self._last if event.is_best else self._best
            note = f"{loss}  valid {self._last}  best {self._best}".strip()
            self._progress.update(self._task, completed=event.epoch, note=note)
