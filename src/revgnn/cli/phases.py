"""What a command is doing: a line that moves in a terminal; elsewhere a plain line, if it takes a moment."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

from revgnn.cli.text import line_width, wrapped

LATE_SECONDS = 0.5
"""A phase that takes longer is named where there is no terminal."""

Say = Callable[[str], None]
"""Is called with what the command does next; "" for nothing."""


@contextmanager
def phases(*, silent: bool = False) -> Iterator[Say]:
    """Yield a function that shows on stderr what the command does next. At the end of the block nothing is shown any more."""
    if silent:
        yield lambda _: None
    elif sys.stderr.isatty():
        from rich.console import Console

        console = Console(stderr=True, highlight=False)
        with console.status("") as status:
            yield lambda text: status.update(_markup_free(text))
    else:
        with LatePhases(err=True) as late:
            yield late


class LatePhases:
    """Prints a phase in a line of its own, after `LATE_SECONDS` and only if it has not ended by then."""

    def __init__(self, *, err: bool) -> None:
        self._err = err
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> LatePhases:
        return self

    def __exit__(self, *_: object) -> None:
        self("")

    def __call__(self, text: str) -> None:
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = threading.Timer(LATE_SECONDS, self._print, (text,)) if text else None
            if self._timer is not None:
                self._timer.daemon = True
                self._timer.start()

    def _print(self, text: str) -> None:
        with self._lock:
            if self._timer is threading.current_thread():  # it has not ended since
                typer.echo(wrapped(f"{text} ...", line_width(err=self._err), "  "), err=self._err)


def _markup_free(text: str) -> str:
    from rich.markup import escape

    return escape(text)
