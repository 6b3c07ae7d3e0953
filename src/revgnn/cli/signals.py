"""Ctrl-C asks a run to stop after the current step; a second Ctrl-C stops it at once."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import typer

_REQUESTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequest:
    """A callable that returns True after a request to stop.

    Args:
        silent: print nothing.

    Attributes:
        exit_code: 128 plus the number of the signal, as shells report it.
    """

    def __init__(self, *, silent: bool = False) -> None:
        self._silent = silent
        self._signal: int | None = None
        self._terminals = [number for number in (1, 2) if os.isatty(number)]

    def __call__(self) -> bool:
        return self._signal is not None

    @property
    def exit_code(self) -> int:
        return 128 + (self._signal or signal.SIGINT)

    def receive(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal. Only a second Ctrl-C stops at once: shells and service managers may send the others repeatedly."""
        if number == signal.SIGHUP:
            self._leave_terminal()
        if self._signal is not None:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self._signal = number
        if self._silent:
            return
        with suppress(OSError):
            typer.echo(
                "\nstopping after this step; Ctrl-C again stops at once and loses the steps since the last saved state.", err=True
            )

    def _leave_terminal(self) -> None:
        """Let output go nowhere: the terminal is gone, and writing to it would end the run before it is saved."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for number in self._terminals:
            os.dup2(nowhere, number)
        os.close(nowhere)


@contextmanager
def stop_on_signals(*, silent: bool = False) -> Iterator[StopRequest]:
    """Within the block, SIGINT (Ctrl-C), SIGTERM (from schedulers) and SIGHUP (the terminal closed) are requests to stop.

    A signal that is ignored, such as SIGHUP under `nohup`, stays ignored.
    """
    request = StopRequest(silent=silent)
    before = {number: signal.getsignal(number) for number in _REQUESTS}
    heard = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    for number in heard:
        signal.signal(number, request.receive)
    try:
        yield request
    finally:
        for number, handler in heard.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def resume_command(folder: Path | None = None) -> str:
    """Return the command that continues the stopped one: the same command with --resume, and with `folder` if it names none."""
    words = [word for word in sys.argv[1:] if word not in ("--overwrite", "--resume")]
    if folder is not None and not any(word.partition("=")[0] == "--out" for word in words):
        words += ["--out", str(folder)]
    return shlex.join(["revgnn", *words, "--resume"])
