"""Errors of the command line: one line on stderr and exit code 2, or a traceback with --debug."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import typer
from typer.core import TyperGroup

from revgnn._words import command_line

USER_ERROR = 2
INTERRUPTED = 130

_DOWNLOADS = "revgnn.data.download"
"""Name of the logger of downloads; its module is not imported here, since it is not needed by most commands."""

_USER_ERRORS = (ValueError, OSError, FloatingPointError)
"""Errors that the library raises for input it cannot use. Any other error is a bug and shows its traceback."""


@runtime_checkable
class _UsageError(Protocol):
    """An error of typer's argument parser. Its base class has different homes in different releases of typer."""

    def format_message(self) -> str: ...


class Commands(TyperGroup):
    """A group of commands that reports errors in one line."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        words = list(sys.argv[1:] if args is None else args)
        debug = "--debug" in words
        with warnings.catch_warnings(), _downloads_shown():
            warnings.showwarning = _show_warning
            # by PyTorch Geometric, which users cannot change
            warnings.filterwarnings("ignore", message=r"`torch\.jit\.\w+` is deprecated", category=FutureWarning)
            try:
                with command_line():
                    code = super().main([w for w in words if w != "--debug"], *rest, standalone_mode=False, **extra)
            except Exception as error:
                message = describe(error)
                if debug or message is None:
                    raise
                typer.echo(f"error: {message}", err=True)
                code = USER_ERROR
            except KeyboardInterrupt:
                typer.echo("stopped.", err=True)
                code = INTERRUPTED
        sys.exit(code if isinstance(code, int) else 0)


def describe(error: Exception) -> str | None:
    """Return one line for an error that the user can correct, and None for any other error."""
    if isinstance(error, _UsageError):
        return f"{_one_line(error.format_message())} (see revgnn --help)"
    if is_out_of_memory(error):
        return (
            "out of memory; cut the graph into more parts (--set parts=N), or use fewer channels; revgnn plan says what fits. "
            f"({_one_line(str(error))[:200]})"
        )
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, ImportError) and error.name is None:  # raised by revgnn for a missing extra; Python's own has a name
        return _one_line(str(error))
    return _one_line(str(error)) if isinstance(error, _USER_ERRORS) else None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the host or a device has no memory left."""
    is_named_so = type(error).__name__ == "OutOfMemoryError"
    return isinstance(error, MemoryError) or is_named_so or "can't allocate memory" in str(error)


def _one_line(text: str) -> str:
    # Names and cells of a user's tables may hold control codes, which a terminal would obey.
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(text.split()))


@contextmanager
def _downloads_shown() -> Iterator[None]:
    """Within the block, a line on stderr says what is downloaded or unpacked, and what its checksum is."""
    log, handler = logging.getLogger(_DOWNLOADS), _Lines()
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


class _Lines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        typer.echo(_one_line(record.getMessage()), err=True)


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    typer.echo(f"warning: {_one_line(str(message))}", err=True)
