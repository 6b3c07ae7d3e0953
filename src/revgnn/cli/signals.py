"""Ctrl-C asks a run to stop after the current step; a second Ctrl-C stops it at once."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import typer


class StopRequest:
    """A callable that returns True after a request to stop.

    Attributes:
        exit_code: 128 plus the number of the signal, as shells report it.
    """

    def __init__(self) -> None:
        self._signal: int | None = None

    def __call__(self) -> bool:
        return self._signal is not None

    @property
    def exit_code(self) -> int:
        return 128 + (self._signal or signal.SIGINT)

    def receive(self, number: int, _frame: FrameType | None) -> None:
        if self._signal is not None:
            raise KeyboardInterrupt
        self._signal = number
        typer.echo(
            "\nstopping after this step; Ctrl-C again stops at once and loses the steps since the last saved state.", err=True
        )


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Within the block, SIGINT (Ctrl-C) and SIGTERM (sent by schedulers) are requests to stop, not exceptions."""
    request = StopRequest()
    before = {number: signal.signal(number, request.receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def resume_command(folder: Path | None = None) -> str:
    """Return the command that continues the stopped one: the same command with --resume, and with `folder` if it names none."""
    words = [word for word in sys.argv[1:] if word not in ("--overwrite", "--resume")]
    if folder is not None and not any(word.partition("=")[0] == "--out" for word in words):
        words += ["--out", str(folder)]
    return shlex.join(["revgnn", *words, "--resume"])
