"""Messages of the library in the words of Python: `settings={"data.root": ...}` where the command line has `--root`.

The library names options of the command line in its messages. Functions of `revgnn.api` are decorated with `speaks_python`, which
rewrites what they raise. A test finds options that have no words here.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_ARGUMENTS = {
    "--out": "out",
    "--preset": "preset",
    "--init": "init",
    "--data": "data",
    "--nodes": 'data={"nodes": ...}',
    "--edges": 'data={"edges": ...}',
}
"""Options that are arguments of `fit`, or of the methods of `Run`."""

_SETTINGS = {
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
    "--split-ratios": "data.split_ratios",
    "--split-time": "data.split_time",
    "--stratify": "data.stratify",
    "--on-bad-rows": "data.on_bad_rows",
    "--download": "data.download",
    "--task": "data.task",
    "--metric": "data.metric",
}
"""Options that are settings, by their dotted key."""

_PHRASES = (
    (r"continue it with --resume, replace it with --overwrite, or choose another --out", "choose another folder as out"),
    (r"replace it with --overwrite, or choose another --out", "choose another folder as out, or remove it"),
    (r"start (it )?again with --overwrite", r"choose another folder as out"),
    (r"or go on all the same with --allow-changed-data", "or give the data to the method"),
    (r"train on into another --out", "choose another folder as out"),
    (r"--config (\S+)", r'preset=RunConfig.from_yaml("\1")'),
    (r"--set ([\w.]+)=([\w.]+)", r'settings={"\1": \2}'),
    (r"--resume", "revgnn.train.train(config, out, resume=True)"),
    (r"--overwrite", "revgnn.train.train(config, out, overwrite=True)"),
)
"""Whole phrases, before single options."""

COVERED = frozenset({*_ARGUMENTS, *_SETTINGS, "--resume", "--overwrite", "--allow-changed-data", "--config", "--set"})
"""Every option that has words of Python."""


def in_python(message: str) -> str:
    """Return a message with its options of the command line in the words of Python."""
    for pattern, words in _PHRASES:
        message = re.sub(pattern, words, message)
    return re.sub(r"(?<![\w-])(--[a-z][a-z-]*)(?:[ =]([A-Za-z0-9_.,=]+))?", _option, message)


def _option(found: re.Match[str]) -> str:
    option, value = found[1], found[2]
    if option in _ARGUMENTS:
        text = _ARGUMENTS[option]
        return text if value is None or "=" in text else f"{text} {value}" if value.islower() else text
    if option not in _SETTINGS:
        return found[0]
    # What follows a comma, "or" or a verb is the sentence, not the value.
    if value is None or value in _WORDS:
        return f'settings={{"{_SETTINGS[option]}": ...}}' + ("" if value is None else f" {value}")
    tail = value[len(value.rstrip(".,")) :]
    return f'settings={{"{_SETTINGS[option]}": {_literal(option, value.rstrip(".,"))}}}{tail}'


_WORDS = ("or", "and", "names", "is", "to", "for")


def _literal(option: str, value: str) -> str:
    if value.isupper():  # a placeholder
        return "..."
    if option == "--kind" and "=" in value:
        column, _, kind = value.partition("=")
        return f'{{"{column}": "{kind}"}}'
    if option == "--label":
        return f'["{value}"]'
    return value if value.replace(".", "").replace(",", "").isdigit() else f'"{value}"'


def speaks_python(function: Callable[P, T]) -> Callable[P, T]:
    """Return the function with messages of `ValueError` and `OSError` in the words of Python."""

    @functools.wraps(function)
    def spoken(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except (ValueError, OSError) as error:
            if len(error.args) == 1 and isinstance(error.args[0], str) and (said := in_python(error.args[0])) != error.args[0]:
                error.args = (said,)
            raise

    return spoken
