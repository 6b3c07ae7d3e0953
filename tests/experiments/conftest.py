"""A real graph in the place of ogbn-proteins: the human protein network, which has the same layout and 112 tasks too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.experiments.stand_in import make_stand_in


@pytest.fixture
def proteins_root(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with a folder `ogbn_proteins`, and an empty cache."""
    return make_stand_in(real_data, tmp_path, monkeypatch)
