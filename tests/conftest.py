"""Where the real graphs are, for the tests that read them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

DATA_VARIABLE = "REVGNN_TEST_DATA"
DEFAULT_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real graphs, read-only: `$REVGNN_TEST_DATA`, or `shared/data` beside the repository. Skip if there is none."""
    chosen = os.environ.get(DATA_VARIABLE)
    folder = Path(chosen) if chosen else DEFAULT_DATA
    if folder.is_dir():
        return folder
    if chosen:
        # If the variable is set, these tests are meant to run: a wrong folder is a failure, not a skip.
        pytest.fail(f"${DATA_VARIABLE} is {chosen}, which is not a folder")
    pytest.skip(f"no folder of real graphs: set ${DATA_VARIABLE} to one")


@pytest.fixture
def copy_of_real_data(real_data: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Function that copies a part, such as "planetoid/Cora", to a temporary folder of the same layout and returns its root.

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
