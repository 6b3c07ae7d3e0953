"""What is installed: the package alone, which needs nothing else of the checkout."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "src" / "revgnn").rglob("*.py"))
NOT_INSTALLED = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"src"}


def imported_packages(source: str) -> set[str]:
    """Return the first part of every module that the source imports."""
    nodes = list(ast.walk(ast.parse(source)))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.split(".")[0] for name in names}


def test_the_wheel_holds_the_package_alone():
    """The build backend need not be installed, so its configuration is tested: it leaves no room for another folder."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel == {"packages": ["src/revgnn"]}
    assert {"benchmarks", "tests"} <= NOT_INSTALLED


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT / "src").as_posix())
def test_the_package_imports_nothing_that_is_not_installed(path: Path):
    assert not imported_packages(path.read_text(encoding="utf-8")) & NOT_INSTALLED


def test_imports_are_found():
    source = "import benchmarks.step\ndef f():\n    from tests.ops import compare\n    from . import x"
    assert imported_packages(source) == {"benchmarks", "tests"}
