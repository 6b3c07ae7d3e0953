"""The walk of `docs/internals.md`: the files that a training step of the paper's block passes through."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import revgnn
from revgnn.train import RunConfig
from revgnn.train.run.session import prepare, training_step

PACKAGE = Path(revgnn.__file__).parent
PAGE = Path(__file__).resolve().parents[1] / "docs" / "internals.md"


@contextmanager
def files_called() -> Iterator[set[str]]:
    """Yield the set of files of the package whose functions are called inside, in any thread."""
    found: set[str] = set()

    def note(frame: Any, event: str, _: Any) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE):
            found.add(path.relative_to(PACKAGE).as_posix())

    before = sys.getprofile()
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(before)
        threading.setprofile(None)  # pyright: ignore[reportArgumentType]


def test_a_step_passes_through_the_files_of_the_page() -> None:
    model = {"family": "reversible", "depth": 3, "channels": 16}
    session = prepare(RunConfig.parse({"data": {"name": "synthetic:nodes=300,degree=6"}, "model": model, "device": "cpu"}))
    training_step(session, session.batches.whole)  # compiles kernels
    with files_called() as found:
        training_step(session, session.batches.whole)
    listed = re.findall(r"^\d+\. `([\w/.]+)`:", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(found)
    assert len(listed) <= 25
