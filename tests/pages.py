"""The blocks of code of the pages of the documentation, and how each kind is tried.

| fence              | what is done with it |
|--------------------|----------------------|
| `python`           | the blocks of a page run in order, as one program; its functions named `test_...` are called |
| `bash`             | each line is parsed by the program that it calls: the command line, the benchmarks, make, pip |
| `csv`, `yaml`      | read |
| `text`             | output and drawings, which nothing can run: named in a list, so that another one is noticed |
| `{...}`            | directives of the site, tried by building it |
"""

from __future__ import annotations

import itertools
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import typer.main

ROOT = Path(__file__).resolve().parents[1]
SITE = sorted(page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *SITE]

LANGUAGES = ("python", "bash", "csv", "yaml", "text")


class Block(NamedTuple):
    """One block of code.

    Attributes:
        page: its file.
        language: what the fence says; "" for none.
        line: number of its first line.
        code: its text.
    """

    page: Path
    language: str
    line: int
    code: str

    @property
    def first(self) -> str:
        return self.code.split("\n", 1)[0].strip()


def name_of(page: Path) -> str:
    """Return the name of a page, from the folder `docs` or from the root."""
    return page.relative_to(ROOT / "docs" if page.is_relative_to(ROOT / "docs") else ROOT).as_posix()


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """Return the blocks of a page, of one language or of all."""
    text = page.read_text(encoding="utf-8")
    matches = re.finditer(r"^(`{3,})([^\n`]*)\n(.*?)^\1$", text, re.MULTILINE | re.DOTALL)
    found = [Block(page, m[2].strip(), text.count("\n", 0, m.start(3)) + 1, m[3]) for m in matches]
    return [block for block in found if language in (None, block.language)]


# --- Python -------------------------------------------------------------------------------------------------------------


def run_page(
    page: Path, names: dict[str, Any] | None = None, shorter: Sequence[tuple[str, str]] = (), *, call_tests: bool = True
) -> dict[str, Any]:
    """Run the Python of a page as one module, then its functions `test_...`, and return its names.

    Args:
        names: what the reader is told to have already.
        shorter: patterns that must be found, and what they are replaced by, so that the page takes seconds.
    """
    names = names or {}
    codes = [block.code for block in blocks(page, "python")]
    for pattern, replacement in shorter:
        counts = [len(re.findall(pattern, code)) for code in codes]
        assert any(counts), f"{name_of(page)} has no {pattern}"
        codes = [re.sub(pattern, replacement, code) for code in codes]
    module = ModuleType("page_" + re.sub(r"\W", "_", name_of(page)))
    module.__dict__.update(names)
    sys.modules[module.__name__] = module  # PyTorch Geometric looks up the module of a convolution
    try:
        for block, code in zip(blocks(page, "python"), codes, strict=True):
            exec(compile("\n" * (block.line - 1) + code, str(page), "exec"), module.__dict__)
        for name, value in list(module.__dict__.items()):
            if call_tests and name.startswith("test_") and name not in names:
                value()
    finally:
        del sys.modules[module.__name__]
    return module.__dict__


# --- commands -----------------------------------------------------------------------------------------------------------


def commands(block: Block) -> Iterator[list[str]]:
    """Yield the words of each command: without comments, of pipelines one by one, without redirections."""
    for line in block.code.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        words: list[str] = []
        skip = False
        for word in lexer:
            if word in ("|", "&&", ";"):
                yield words
                words = []
            elif set(word) <= set("<>"):
                skip = True
                words = words[:-1] if words and words[-1] == "2" else words
            elif skip:
                skip = False
            else:
                words.append(word)
        if words:
            yield words


def check_command(words: list[str]) -> None:
    """Check that a command would be understood, without running it.

    Raises:
        AssertionError: if its program, an option or a value is not known.
    """
    match words:
        case ["revgnn", *rest]:
            _parse_revgnn(rest)
        case ["torchrun", *options] if "-m" in options and options[options.index("-m") + 1] == "revgnn":
            _parse_revgnn(options[options.index("-m") + 2 :])
        case ["python", "-m", "benchmarks", *rest]:
            _parse_benchmark(rest)
        case ["python", "-c", code, *_]:
            compile(code, "documentation", "exec")
        case ["make", *targets]:
            known = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
            assert all(target in known for target in targets if "=" not in target), words
        case ["pip", "install", *what]:
            for extra in re.findall(r"\[([\w,-]+)\]", " ".join(what)):
                known = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
                assert re.search(rf"(?m)^{extra} = \[", known), f"there is no extra {extra}"
        case ["python", "-m", "venv", *_] | ["source" | "jq" | "cd", *_] | ["tensorboard", "--logdir", _] | ["git", "clone", *_]:
            pass
        case _:
            raise AssertionError(f"unknown command: {shlex.join(words)}")


def _parse_revgnn(words: list[str]) -> None:
    from revgnn.cli.app import app

    group = typer.main.get_command(app)
    if words[0].startswith("-"):
        group.make_context("revgnn", words, resilient_parsing=True)
        return
    for key in (word.partition("=")[0] for before, word in itertools.pairwise(words) if before == "--set"):
        assert f"| `{key}` |" in (ROOT / "docs" / "settings.md").read_text(encoding="utf-8"), f"there is no setting {key}"
    command = group.commands.get(words[0])  # type: ignore[attr-defined]
    assert command is not None, f"there is no command revgnn {words[0]}"
    try:
        command.make_context(f"revgnn {words[0]}", list(words[1:]))
    except Exception as error:
        message = error.format_message() if hasattr(error, "format_message") else error
        raise AssertionError(f"revgnn {shlex.join(words)}: {message}") from error


def _parse_benchmark(words: list[str]) -> None:
    import contextlib
    import io

    from benchmarks import registry

    if not words:
        return
    name, *options = words
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        registry.main_of(name)(["--help"])
    known = set(re.findall(r"--[\w-]+", shown.getvalue()))
    unknown = {word for word in options if word.startswith("--")} - known
    assert not unknown, f"python -m benchmarks {name} has no {', '.join(sorted(unknown))}"
