"""A cache of its own for every test of a data set, so that none uses the cache of the user."""

from __future__ import annotations

from pathlib import Path

import pytest

from revgnn.data.cache import CACHE_VARIABLE


@pytest.fixture(autouse=True)
def cache_root(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv(CACHE_VARIABLE, str(root))
    return root
