"""What is imported is a dependency, and what only an extra brings is imported where it is used."""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

MODULES = {"scikit-learn": "sklearn", "pyyaml": "yaml", "torch-geometric": "torch_geometric"}
"""Names of modules, where they are not those of their package."""

BROUGHT_ALONG = {"llvmlite": "numba", "pydantic_core": "pydantic"}
"""Modules that a dependency cannot be without."""

ON_A_GPU = ("gpu.py", "gpu/", "split_rows.py", "launch.py")


def modules(requirements: list[str]) -> set[str]:
    names = {re.match(r"[\w.-]+", requirement)[0].lower() for requirement in requirements}  # type: ignore[index]
    return {MODULES.get(name, name.replace("-", "_")) for name in names}


CORE = modules(PROJECT["dependencies"])
CORE |= {module for module, owner in BROUGHT_ALONG.items() if owner in CORE}
EXTRAS = {extra: modules(needs) for extra, needs in PROJECT["optional-dependencies"].items() if extra != "dev"}


@functools.cache
def imports(path: Path) -> tuple[tuple[str, bool, int], ...]:
    """Return each import of other packages: name, whether it happens when the module is imported, and its line."""
    return tuple(_imports(ast.parse(path.read_text(encoding="utf-8")), at_once=True))


def _imports(parent: ast.AST, *, at_once: bool) -> Iterator[tuple[str, bool, int]]:
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            for name in names:
                top = "tensorboard" if name == "torch.utils.tensorboard" else name.partition(".")[0]
                if top not in sys.stdlib_module_names and top != "revgnn":
                    yield top, at_once, node.lineno
        elif isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case) and not _for_types_only(node):
            yield from _imports(node, at_once=at_once and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


SOURCES = sorted((ROOT / "src" / "revgnn").rglob("*.py"))


def test_every_import_is_a_dependency() -> None:
    known = CORE.union(*EXTRAS.values())
    missing = {f"{path.name}:{line}: {name}" for path in SOURCES for name, _, line in imports(path) if name not in known}
    assert missing == set()


def test_every_core_dependency_is_imported() -> None:
    used = {name for path in SOURCES for name, _, _ in imports(path)}
    assert CORE - used - set(BROUGHT_ALONG) == set()


def test_what_an_extra_brings_is_imported_lazily() -> None:
    early = {
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in SOURCES
        for name, at_once, line in imports(path)
        if at_once and name not in CORE and not (name == "triton" and any(part in str(path) for part in ON_A_GPU))
    }
    assert early == set()


def test_messages_name_extras_that_exist() -> None:
    named = {extra for path in SOURCES for extra in re.findall(r"revgnn\[([\w,]+)\]", path.read_text(encoding="utf-8"))}
    assert named <= set(EXTRAS)
    assert {"tensorboard", "wandb"} <= named


def test_the_extras_are_in_the_readme_and_those_of_the_tests_in_dev() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for extra in EXTRAS:
        assert f"| `{extra}` |" in readme, extra
    dev = next(need for need in PROJECT["optional-dependencies"]["dev"] if need.startswith("revgnn["))
    assert set(dev.removeprefix("revgnn[").rstrip("]").split(",")) == set(EXTRAS) - {"wandb"}  # its tests have a stand-in
