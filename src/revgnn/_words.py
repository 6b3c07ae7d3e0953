"""Messages of the library in the words of whoever asked: options for the command line, arguments and settings for Python.

The library writes messages with options of the command line, such as `--root`. Functions that users of Python call are decorated
with `speaks_python`, which rewrites what they raise; inside `command_line()` it does nothing. A test finds options that have no
words here.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_left_alone: ContextVar[bool] = ContextVar("messages_left_alone", default=False)
"""Whether whoever called has its own words: the command line, or a decorated function further out."""

FIT = 'settings={{"{key}": {value}}}'
"""How a setting is given to `revgnn.fit`."""

CONFIG = 'config.replace({{"{key}": {value}}})'
"""How it is given to functions that take a `RunConfig`."""

OPTIONS = "LoadOptions({name}={value})"
"""How it is given to functions that load a run."""

LOAD = "{name}={value}"
"""How it is given to `revgnn.data.load`."""


_ARGUMENTS = {
    "--out": "out",
    "--preset": "preset",
    "--nodes": 'data={"nodes": ...}',
    "--edges": 'data={"edges": ...}',
}
"""Options that are arguments."""

_ARGUMENTS_OF = {
    FIT: {"--init": "init", "--data": "data"},
    OPTIONS: {"--data": "LoadOptions(data=...)", "--edges": "LoadOptions(edges=...)"},
}
"""Options that are arguments of some functions, by how settings are given to them."""

_SETTINGS = {
    "--init": "init",
    "--data": "data.name",
    "--root": "data.root",
    "--node-features": "data.node_features",
    "--device": "device",
    "--amp": "amp",
    "--epochs": "epochs",
    "--seed": "seed",
    "--split": "data.split",
    "--teacher": "distillation.teacher",
    "--views": "evaluation.views",
    "--parts": "evaluation.parts",
    "--label": "data.labels",
    "--kind": "data.kinds",
    "--graph-file": "data.graph_file",
    "--label-file": "data.label_file",
    "--split-ratios": "data.split_ratios",
    "--split-time": "data.split_time",
    "--stratify": "data.stratify",
    "--on-bad-rows": "data.on_bad_rows",
    "--download": "data.download",
    "--archive": "data.archive",
    "--task": "data.task",
    "--metric": "data.metric",
}
"""Options that are settings, by their dotted key."""

_OF_FIT = (
    (r"continue it with --resume, replace it with --overwrite, or choose another --out", "choose another folder as out"),
    (r"replace it with --overwrite, or choose another --out", "choose another folder as out, or remove it"),
    (r"start (it )?again with --overwrite", "choose another folder as out"),
    (r", or go on all the same with --allow-changed-data", ""),
)
"""Phrases about what `fit` cannot do, in its words."""

_PHRASES = (
    (r"choose another --out", "choose another folder as out"),
    (r"--config (\S+)", r'RunConfig.from_yaml("\1")'),
    (r"`revgnn datasets --formats` lists all", "`revgnn.data.readers.registry.FORMATS` has all"),
    (r"--nodes (\S+) --edges ([\w.*]*\w)", r'the table \1 with data.edges="\2"'),
    (r"--pairs", "LoadOptions(pairs=...)"),
    (r"--calibrate", "calibrate=True"),
    (r"--resume", "resume=True"),
    (r"--overwrite", "overwrite=True"),
    (r"--allow-changed-data", "allow_changed_data=True"),
)
"""Whole phrases and flags, before single options."""

_IN_PHRASES = ("--formats", "--pairs", "--calibrate", "--resume", "--overwrite", "--allow-changed-data", "--config", "--set")

COVERED = frozenset({*_ARGUMENTS, *_SETTINGS, *_IN_PHRASES})
"""Every option that has words of Python."""


@contextmanager
def command_line() -> Iterator[None]:
    """Within the block messages keep their options of the command line."""
    token = _left_alone.set(True)
    try:
        yield
    finally:
        _left_alone.reset(token)


def in_python(message: str, setting: str = FIT) -> str:
    """Return a message with its options of the command line in the words of Python.

    Args:
        setting: how a setting is given: a template with `key` (dotted), `name` (its last part) and `value`.
    """
    for pattern, words in (*(_OF_FIT if setting == FIT else ()), *_PHRASES):
        message = re.sub(pattern, words, message)
    message = re.sub(r"--set ([\w.]+)=([\w.]+)", lambda found: _setting(setting, found[1], found[2]), message)
    return re.sub(r"(?<![\w-])(--[a-z][a-z-]*)(?:[ =]([A-Za-z0-9_.,=]+))?", lambda found: _option(found, setting), message)


def _option(found: re.Match[str], setting: str) -> str:
    option, value = found[1], found[2]
    bare = "" if value is None else value.rstrip(".,")
    arguments = {**_ARGUMENTS, **_ARGUMENTS_OF.get(setting, {})}
    if option in arguments:
        rest = "" if value is None else value[len(bare) :] if bare.isupper() else f" {value}"
        return arguments[option] + rest
    if option not in _SETTINGS:
        return found[0]
    if option in _SWITCHES:
        return _setting(setting, _SETTINGS[option], "True") + ("" if value is None else f" {value}")
    # What follows may be the sentence, not the value.
    if value is None or bare in _WORDS:
        return _setting(setting, _SETTINGS[option], "...") + ("" if value is None else f" {value}")
    return _setting(setting, _SETTINGS[option], _literal(option, bare)) + value[len(bare) :]


def _setting(template: str, key: str, value: str) -> str:
    return template.format(key=key, name=key.rpartition(".")[2], value=value)


_WORDS = ("or", "and", "names", "is", "to", "for", "orders")
_SWITCHES = ("--download", "--stratify")
"""Options without a value: given, they are true."""


def _literal(option: str, value: str) -> str:
    if value.isupper():  # a placeholder
        return "..."
    if option == "--kind" and "=" in value:
        column, _, kind = value.partition("=")
        return f'{{"{column}": "{kind}"}}'
    if option == "--label":
        return f'["{value}"]'
    return value if value.replace(".", "").replace(",", "").isdigit() else f'"{value}"'


def speaks_python(setting: str = FIT) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Return a decorator: the messages of `ValueError` and `OSError` that a function raises are in the words of Python.

    Args:
        setting: how a setting is given to the function; see `in_python`.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @functools.wraps(function)
        def spoken(*args: P.args, **kwargs: P.kwargs) -> T:
            if _left_alone.get():
                return function(*args, **kwargs)
            try:
                with command_line():  # functions further in leave their messages as they are
                    return function(*args, **kwargs)
            except (ValueError, OSError) as error:
                if len(error.args) == 1 and isinstance(error.args[0], str):
                    error.args = (in_python(error.args[0], setting),)
                raise

        return spoken

    return decorate
