"""Messages in the words of Python."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from revgnn._words import COVERED, in_python

ROOT = Path(__file__).resolve().parents[1] / "src" / "revgnn"

NOT_REACHED = ("cli", "testing", "interop", "experiments/training", "experiments/report", "experiments/measure")
"""Rooms that no function of `revgnn.api` calls."""

NOT_OURS = {
    "--always",
    "--dirty",
    "--exclude",
    "--abbrev",
    "--no-optional-locks",
    "--json",
    "--train",
    "--markdown",
    "--measure",
    "--parallel",
    "--cut",
    "--pieces",
}
"""Options of git, and of commands that Python has no functions for."""


def options_in_messages() -> dict[str, str]:
    """Return every option of the command line in a string that is no docstring, with one place of it."""
    found = {}
    for path in ROOT.rglob("*.py"):
        where = path.relative_to(ROOT).as_posix()
        if where.startswith(NOT_REACHED) or where.startswith(("_words", "experiments/catalogue", "experiments/auto/__")):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
                found |= dict.fromkeys(re.findall(r"(?<![\w-])--[a-z][a-z-]*", node.value), where)
    return found


def test_every_option_in_a_message_has_words_of_python() -> None:
    missing = {option: where for option, where in options_in_messages().items() if option not in COVERED | NOT_OURS}
    assert missing == {}


@pytest.mark.parametrize(("message", "expected"), [
    ("choose another --out.", "choose another folder as out."),
    ("start with them: --init RUN. Or not.", "start with them: init. Or not."),
    ("Name it: --label COLUMN, or label in graph.yaml.", 'Name it: settings={"data.labels": ...}, or label in graph.yaml.'),
    ("or drop such rows: --on-bad-rows drop.", 'or drop such rows: settings={"data.on_bad_rows": "drop"}.'),
    ("use --device cpu or --device auto.", 'use settings={"device": "cpu"} or settings={"device": "auto"}.'),
    ("for example, --views 10 --parts 5.", 'for example, settings={"evaluation.views": 10} settings={"evaluation.parts": 5}.'),
    ("say where it is now with --data or --root.", 'say where it is now with data or settings={"data.root": ...}.'),
    ("(--kind age=categorical or ignored)", '(settings={"data.kinds": {"age": "categorical"}} or ignored)'),
    ("cut the graph (--set parts=4)", 'cut the graph (settings={"parts": 4})'),
    ("with em -- dashes and a--b", "with em -- dashes and a--b"),
])  # fmt: skip
def test_messages(message: str, expected: str) -> None:
    assert in_python(message) == expected


def test_each_caller_hears_its_own_words(tmp_path: Path) -> None:
    """The same mistake, by the functions of Python and by the command line; functions inside others leave the words to them."""
    from typer.testing import CliRunner

    import revgnn
    from revgnn._words import command_line
    from revgnn.cli.app import app
    from revgnn.data import load
    from revgnn.train import RunConfig, train
    from revgnn.train.config import DataConfig

    (tmp_path / "nodes.csv").write_text("id,plan\na,x,3\n")
    (tmp_path / "edges.csv").write_text("source,target\na,a\n")
    config = RunConfig(data=DataConfig(name=str(tmp_path)))
    callers = {
        'on_bad_rows="drop"': lambda: load(str(tmp_path)),
        'config.replace({"data.on_bad_rows": "drop"})': lambda: train(config, tmp_path / "run"),
        'settings={"data.on_bad_rows": "drop"}': lambda: revgnn.fit(tmp_path, preset="revgnn-7"),
    }
    for words, call in callers.items():
        with pytest.raises(ValueError, match=re.escape(f"drop such rows: {words}.")):
            call()
        with command_line(), pytest.raises(ValueError, match="drop such rows: --on-bad-rows drop"):
            call()
    result = CliRunner().invoke(app, ["train", str(tmp_path), "--preset", "revgnn-7", "--out", str(tmp_path / "run")])
    assert "--on-bad-rows drop" in result.stderr
