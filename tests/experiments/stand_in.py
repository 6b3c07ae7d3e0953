"""The human protein network where `load` looks for ogbn-proteins: the same layout and 112 tasks, at a size for tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from revgnn.data.cache import CACHE_VARIABLE

NUM_NODES = 12_381


def make_stand_in(real_data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root that holds it as `ogbn_proteins`, with a cache of its own."""
    monkeypatch.setenv(CACHE_VARIABLE, str(folder / "cache"))
    target = folder / "data" / "ogbn_proteins"
    shutil.copytree(real_data / "ogb" / "ogbn_humanppi", target, copy_function=shutil.copyfile)
    for path in (target, *(p for p in target.rglob("*") if p.is_dir())):
        path.chmod(0o755)
    return target.parent
