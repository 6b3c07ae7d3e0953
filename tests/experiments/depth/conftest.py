"""A finished study. Tests must not change it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from revgnn.experiments.depth.study import study
from tests.experiments.depth.small import BASE, PLAN


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("depth") / "a"
    return out, study(BASE, PLAN, out, budget=1e6)
