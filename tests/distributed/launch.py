"""Processes of a job, each of which runs a function of `tests.distributed.scenarios`."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from torch.distributed import FileStore  # pyright: ignore[reportPrivateImportUsage]

from revgnn.distributed import Ranks, join

ROOT = Path(__file__).resolve().parents[2]


class Outcome(NamedTuple):
    """How a process ended."""

    code: int
    stderr: str


def environment() -> dict[str, str]:
    """Return the environment of processes that have one thread each and find the package and the tests."""
    places = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, places))}


def launch(
    size: int, scenario: str, folder: Path, *, seconds: float = 200.0, module: str = "tests.distributed.scenarios"
) -> list[Outcome]:
    """Run a scenario in so many processes that meet in a file, and return how each ended."""
    store = folder / f"store-{scenario}"
    command = [sys.executable, "-m", module, scenario, str(store), str(folder)]
    processes = [
        subprocess.Popen([*command, str(rank), str(size)], env=environment(), cwd=ROOT, stderr=subprocess.PIPE, text=True)
        for rank in range(size)
    ]
    try:
        errors = [process.communicate(timeout=seconds)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [Outcome(process.returncode, text) for process, text in zip(processes, errors, strict=True)]


def succeed(size: int, scenario: str, folder: Path, module: str = "tests.distributed.scenarios") -> None:
    """Run a scenario that must end well in every process."""
    outcomes = launch(size, scenario, folder, module=module)
    assert all(outcome.code == 0 for outcome in outcomes), "\n".join(outcome.stderr[-3000:] for outcome in outcomes)


@contextmanager
def team_of(store: str, rank: str, size: str, seconds: float = 60.0) -> Iterator[Ranks]:
    """Yield the team of a process that `launch` has started."""
    with join(seconds, (FileStore(store, int(size)), int(rank), int(size))) as team:
        yield team
