"""What the tests of the package and of the benchmarks share: threads, seeds, and what is skipped without a GPU."""

from __future__ import annotations

import os

import pytest
import torch

# Without a GPU, its kernels are interpreted. Triton reads this when it is imported, which the conftest.py of a folder may cause.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_configure(config: pytest.Config) -> None:
    # each of the processes that pytest-xdist starts gets its share of the cores
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))
    # pytest-xdist gives its processes the width of its own terminal; output in a file has none
    os.environ.pop("COLUMNS", None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA device")
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def _same_numbers_every_time() -> None:
    torch.manual_seed(0)
