"""The worker that runs the laws' cases, and the process it is forked from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.properties.process import Worker


@pytest.fixture(scope="session")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """One for all laws of a session. The server it is forked from starts with it, and takes these variables along."""
    root = tmp_path_factory.mktemp("properties")
    changes = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    changes |= {
        "REVGNN_CACHE": str(root / "cache"),
        "PYTHONPATH": os.pathsep.join([str(_root()), os.environ.get("PYTHONPATH", "")]),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changes.items():
            patch.setenv(name, value)
        (root / "scratch").mkdir()
        worker = Worker(root / "scratch")
        worker.start()
    yield worker
    worker.close()


def _root() -> Path:
    return Path(__file__).resolve().parents[2]
