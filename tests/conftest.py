"""What every test shares: the threads torch may use, and where the real graphs lie."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

# Without a GPU its kernels are interpreted. Triton looks for this while it is imported, which a folder's own conftest.py may cause.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

DATA_VARIABLE = "REVGNN_TEST_DATA"
DEFAULT_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_configure(config: pytest.Config) -> None:
    # One process must not use the cores that its xdist siblings count on.
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // workers))


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


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real graphs, read-only: `$REVGNN_TEST_DATA`, or `shared/data` beside the repository. Skips where there is none."""
    chosen = os.environ.get(DATA_VARIABLE)
    folder = Path(chosen) if chosen else DEFAULT_DATA
    if folder.is_dir():
        return folder
    if chosen:
        # Whoever names a folder wants these tests to run: a wrong name must not turn them off in silence.
        pytest.fail(f"${DATA_VARIABLE} is {chosen}, which is not a folder")
    pytest.skip(f"no folder of real graphs: set ${DATA_VARIABLE} to one")


@pytest.fixture
def copy_of_real_data(real_data: Path, tmp_path: Path) -> Callable[[str], Path]:
    """`copy_of_real_data("planetoid/Cora")` copies that part into a temporary folder of the same layout, and returns its root.

    For libraries that write a `processed/` folder beside `raw/`.
    """
    root = tmp_path / "data"

    def copy(part: str) -> Path:
        shutil.copytree(real_data / part, root / part, copy_function=shutil.copyfile)
        # copytree also copies the modes of the folders, and the original is read-only.
        for folder in [root / part, *(p for p in (root / part).rglob("*") if p.is_dir())]:
            folder.chmod(0o755)
        return root

    return copy
