"""Graphs that tests in several folders use: where the real ones are, 300 nodes of one, and a random one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from revgnn.cli import phases
from revgnn.graph import Graph

DATA_VARIABLE = "REVGNN_TEST_DATA"
DEFAULT_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def _no_phases_in_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands name a phase that takes a moment. How long one takes here depends on the machine, and outputs must not."""
    monkeypatch.setattr(phases, "LATE_SECONDS", 600.0)


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


@pytest.fixture(scope="session")
def tolokers(real_data: Path) -> Graph:
    """300 nodes of a real graph and the edges between them."""
    with np.load(real_data / "heterophilous/tolokers/raw/tolokers.npz") as z:
        edges = torch.from_numpy(z["edges"]).t().long()
    return Graph.from_edge_index(torch.cat([edges, edges.flip(0)], 1), 11_758).subgraph(torch.arange(300))


@pytest.fixture
def random_graph() -> Graph:
    """60 nodes and 300 random edges, none of them at the last 10 nodes."""
    torch.manual_seed(0)
    return Graph.from_edge_index(torch.randint(0, 50, (2, 300)), 60)
