"""Progress of a benchmark on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

SECONDS_BETWEEN_LINES = 10


class Tick(Protocol):
    """What `progress` yields. Call it after each piece of work."""

    def __call__(self, note: str = "", by: float = 1) -> None:
        """Advance by `by` and show `note`. With `by=0` it announces work that begins, at once."""
        ...


@contextmanager
def progress(title: str, total: float, *, quiet: bool = False) -> Iterator[Tick]:
    """Show how much of `total` is done: a bar with the time left in a terminal, elsewhere a line every ten seconds."""
    if quiet:
        yield lambda note="", by=1: None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (TextColumn(title), BarColumn(24), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        with Progress(*columns, TextColumn("{task.fields[note]}"), console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(title, total=total, note="")
            yield lambda note="", by=1: bar.update(task, advance=by, note=note)
    else:
        yield _line_printer(title, total)


def _line_printer(title: str, total: float) -> Tick:
    began = last = time.monotonic()
    done = 0.0

    def tick(note: str = "", by: float = 1) -> None:
        nonlocal done, last
        done += by
        now = time.monotonic()
        if (now - last >= SECONDS_BETWEEN_LINES and done) or not by:
            last = now
            left = f", left {(now - began) / done * (total - done):.0f} s" if done else ""
            print(f"{title}: {100 * done / total:.0f} %, {now - began:.0f} s{left}  {note}", file=sys.stderr)

    return tick
