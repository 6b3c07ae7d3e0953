"""The suite itself: it draws as many cases as it promises, and its worker sees crashes, hangs and wrong answers."""

from __future__ import annotations

import ctypes
import importlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.properties import laws, process
from tests.properties.process import Worker


class Case:
    """A body for the worker, found by its name as those of laws are."""

    def __init__(self, body: Callable[..., None]) -> None:
        self.body = body


def _fail() -> None:
    raise AssertionError("three is not four")


reads_nothing = Case(lambda: ctypes.string_at(0))
leaves = Case(lambda: os._exit(3))
sleeps = Case(lambda: time.sleep(60))
fails = Case(_fail)
passes = Case(lambda: None)


@pytest.fixture
def own_worker(tmp_path: Path) -> Iterator[Worker]:
    found = Worker(tmp_path)
    yield found
    found.close()


def test_a_crash_is_reported_with_its_case_and_the_next_one_runs(own_worker: Worker) -> None:
    with pytest.raises(AssertionError, match=r"(?s)crashed with this case alone: reads_nothing\(\)\nSIGSEGV\n.*string_at"):
        own_worker.run(__name__, "reads_nothing", {})
    with pytest.raises(AssertionError, match=r"crashed with this case alone: leaves\(\)\nexit code 3"):
        own_worker.run(__name__, "leaves", {})
    own_worker.run(__name__, "passes", {})


def test_a_hang_is_ended_and_reported(own_worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    own_worker.run(__name__, "passes", {})
    monkeypatch.setattr(process, "SECONDS", 0.2)
    with pytest.raises(AssertionError, match=r"no result within 0.2 seconds\nwith sleeps\(\)"):
        own_worker.run(__name__, "sleeps", {})


def test_a_wrong_answer_is_reported(own_worker: Worker) -> None:
    with pytest.raises(AssertionError, match=r"three is not four\nwith fails\(\)"):
        own_worker.run(__name__, "fails", {})


def test_the_suites_draw_as_many_cases_as_promised() -> None:
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        importlib.import_module(f"tests.properties.{file.stem}")
    default = sum(law.cases * law.parameters for law in laws.declared)
    thorough = sum(law.cases * law.parameters * (1 if law.is_exhaustive else laws.THOROUGH) for law in laws.declared)
    assert default >= laws.WANTED["default"]
    assert thorough >= laws.WANTED["thorough"]
