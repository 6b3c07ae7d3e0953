"""Ctrl-C asks a run to stop after the step it is in; a second one stops it there and then."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import typer


class StopRequest:
    """True once somebody asked to stop.

    Attributes:
        exit_code: 128 plus the number of the signal, as shells count.
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
        typer.echo("\nstopping after this step; Ctrl-C again stops at once, going back to the state saved last.", err=True)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Within the block SIGINT (Ctrl-C) and SIGTERM (a scheduler's warning) are requests, not exceptions."""
    request = StopRequest()
    before = {number: signal.signal(number, request.receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def go_on_command() -> str:
    """What continues the command that was stopped: itself, with --resume."""
    words = [word for word in sys.argv[1:] if word != "--overwrite"]
    return shlex.join(["revgnn", *words, *([] if "--resume" in words else ["--resume"])])
