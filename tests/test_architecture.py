"""Imports point down: a lower room of the house never knows a higher one. Read from the source, nothing is imported."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "src" / "revgnn"

LAYERS = [
    ["_lazy", "_text", "_version", "_words", "files", "memory"],
    ["kernels"],
    ["graph"],
    ["ops"],
    ["nn", "stack"],
    ["capture", "equilibrium"],
    ["gradients", "models"],
    ["data"],
    ["train"],
    ["distributed"],
    ["experiments", "interop"],
    ["api"],
    ["cli"],
    ["__main__"],
]
"""From the ground up. What stands in one line knows nothing of its neighbours either."""

KNOW_NO_GRAPHS = [
    *("_text", "_version", "_words", "files", "memory", "kernels", "stack", "capture", "equilibrium", "gradients"),
    *("ops.dropout", "ops.grid", "ops.norm_relu", "ops.operator", "ops.perceptron", "ops.totals"),
]
"""Rooms, and single ops, that could serve any network. They use only one another."""

MAY_TEST = ["testing", "cli.verify"]
"""Nothing else of the library imports the helpers for tests."""

HEIGHT = {room: height for height, rooms in enumerate(LAYERS) for room in rooms}


def module_name(path: Path) -> str:
    """`ops/grid/cpu.py` is `ops.grid.cpu`, a package's `__init__.py` is the package, and revgnn's own is `__init__`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def imports_of_ours(tree: ast.AST) -> list[tuple[int, str]]:
    """Return line and name below `revgnn` (`benchmarks`: whole) of every import of ours, those inside functions included."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write the import in full, not relative"
            # What is imported may itself be a module: `from revgnn.ops import grid`.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found += [(node.lineno, name.removeprefix("revgnn").lstrip(".")) for name in names if name.split(".")[0] == "revgnn"]
        found += [(node.lineno, name) for name in names if name.split(".")[0] == "benchmarks"]
    return found


def is_within(name: str, rooms: list[str]) -> bool:
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def complaints(path: Path, tree: ast.AST) -> list[str]:
    me = module_name(path)
    room = me.split(".")[0]
    bad = []
    for line, name in imports_of_ours(tree):
        target = name.split(".")[0]
        said = f"{path.relative_to(ROOT.parent)}:{line} imports {name or 'revgnn itself'}"
        if target == "testing" and not is_within(me, MAY_TEST):
            bad.append(f"{said}: the library does not use its test helpers")
        elif is_within(me, KNOW_NO_GRAPHS) and not is_within(name, KNOW_NO_GRAPHS):
            bad.append(f"{said}: {me} knows no graphs")
        elif room in ("__init__", "testing") or target in (room, "testing"):
            continue
        elif target not in HEIGHT:
            bad.append(f"{said}: import from the room it lives in, or give that room its place in LAYERS")
        elif HEIGHT[target] >= HEIGHT[room]:
            bad.append(f"{said}: {target} is not below {room}")
    return bad


SOURCES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("ops/a.py", "from revgnn.models import build_model"),
        ("ops/a.py", "def f():\n    from revgnn.cli import main"),
        ("ops/a.py", "from revgnn import models"),
        ("ops/a.py", "import revgnn.models.config"),
        ("ops/a.py", "import revgnn"),
        ("ops/a.py", "from revgnn import Graph"),
        ("kernels/a.py", "from revgnn.ops.grid import advance"),
        ("kernels/a.py", "from revgnn.graph import Graph"),
        ("ops/grid/cpu.py", "from revgnn.graph import Graph"),
        ("ops/grid/__init__.py", "from revgnn.ops.aggregate import aggregate"),
        ("stack/a.py", "from revgnn.graph import Graph"),
        ("stack/a.py", "from revgnn.ops import aggregate"),
        ("stack/a.py", "from revgnn.capture import CapturedStep"),
        ("stack/a.py", "from revgnn.nn import GENConv"),
        ("equilibrium/a.py", "from revgnn.models import ModelConfig"),
        ("equilibrium/a.py", "from revgnn.ops.aggregate.api import aggregate"),
        ("train/a.py", "from revgnn.testing import peak_bytes"),
        ("experiments/a.py", "from revgnn.cli import main"),
        ("models/a.py", "from revgnn.distributed import Ranks"),
        ("train/a.py", "from revgnn.distributed import Ranks"),
        ("interop/a.py", "from revgnn.experiments import get_preset"),
        ("models/a.py", "from revgnn.interop import GroupAddRev"),
        ("cli/a.py", "from revgnn.testing import peak_bytes"),
        ("cli/a.py", "from benchmarks import step"),
        ("memory.py", "from revgnn.graph import Graph"),
        ("cli/a.py", "from revgnn import new_room"),
        ("__init__.py", "from revgnn.testing import peak_bytes"),
    ],
)
def test_an_arrow_that_points_up_is_found(file: str, source: str):
    assert complaints(ROOT / file, ast.parse(source))


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("models/a.py", "from revgnn.ops import aggregate\nfrom revgnn.models.config import ModelConfig"),
        ("stack/a.py", "from revgnn.ops import grid\nfrom revgnn.ops.grid import limit\nfrom revgnn.stack.b import c"),
        ("capture/a.py", "from revgnn.stack import Stack"),
        ("train/a.py", "from revgnn import memory"),
        ("testing/a.py", "from revgnn.graph import Graph"),
        ("__init__.py", "from revgnn.models import build_model"),
        ("ops/a.py", "import torch, revgnnx\nfrom revgnn_other.cli import main"),
    ],
)
def test_an_arrow_that_points_down_is_not(file: str, source: str):
    assert complaints(ROOT / file, ast.parse(source)) == []
