"""The side of `worker` that asks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


class Worker:
    """Process that measures the sources of one checkout, as a context manager that ends it.

    Args:
        name: of the version, for messages.
        checkout: folder whose `src/revgnn` is measured.
        inputs: file of the input tensors.

    Attributes:
        cases: names of what can be measured.

    Raises:
        ValueError: if the checkout has no `src/revgnn`, or the process would import another one.
        RuntimeError: if the process ends.
    """

    def __init__(self, name: str, checkout: Path, inputs: Path) -> None:
        self.name = name
        source = checkout.resolve() / "src"
        if not (source / "revgnn" / "__init__.py").exists():
            raise ValueError(f"{checkout} has no src/revgnn; name the root of a checkout of this project.")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.versions.worker", str(inputs)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(source)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            greeting = self._answer()
            if Path(greeting["package"]).resolve().parents[1] != source:
                raise ValueError(f"the process of {checkout} imported {greeting['package']} instead of the revgnn below {source}.")
        except BaseException:
            self.close()
            raise
        self.cases: list[str] = greeting["cases"]

    def describe(self, case: str) -> dict[str, Any]:
        """Return `digests` of all results, `peak_bytes` of steps, and the `seconds` of one call."""
        return self._ask({"do": "describe", "case": case})

    def time(self, case: str, calls: int) -> float:
        """Return the mean seconds of some calls."""
        return self._ask({"do": "time", "case": case, "calls": calls})["seconds"]

    def close(self) -> None:
        """End the process."""
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()
        self._process.terminate()
        self._process.wait()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # `_answer` says that the process ended
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise RuntimeError(f"the process of the {self.name} version ended with code {code}; the reason is above.")
        return json.loads(line)
