"""Runs of benchmarks at tiny sizes, whose results go to a folder of the test."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import registry


class Bench:
    """`bench("step", "--quick")` runs a benchmark and returns its exit code; `lines("step")` is what it added to the results."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "results"

    def __call__(self, name: str, *words: str) -> int:
        return registry.main_of(name)([*words, "--results", str(self.folder)])

    def lines(self, name: str) -> list[dict[str, Any]]:
        path = self.folder / "quick" / f"{name}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def interrupt_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Ctrl-C comes once so many pieces of work are done."""

    def arrange(pieces: int) -> None:
        from contextlib import contextmanager

        from benchmarks import harness

        done = 0

        @contextmanager
        def progress(*_: object, **__: object):
            def tick(*_: object, **__: object) -> None:
                nonlocal done
                done += 1
                if done == pieces:
                    raise KeyboardInterrupt

            yield tick

        monkeypatch.setattr(harness, "progress", progress)

    return arrange
