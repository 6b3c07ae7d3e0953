"""The wheel: the package alone. That the package imports nothing else of the checkout is part of `test_architecture`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).resolve().parents[1]


def test_the_wheel_holds_the_package_alone():
    """The build backend need not be installed, so its configuration is tested."""
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert configuration["tool"]["hatch"]["build"]["targets"]["wheel"] == {"packages": ["src/revgnn"]}
    assert not (ROOT / "src" / "revgnn" / "benchmarks").exists()
