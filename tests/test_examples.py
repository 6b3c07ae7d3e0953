"""The examples run, and what they train learns something."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch_geometric.typing

FOLDER = Path(__file__).resolve().parents[1] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # PyTorch Geometric looks up the module of a convolution
    spec.loader.exec_module(module)
    return module


def test_every_example_is_in_the_table() -> None:
    listed = re.findall(r"^\| `(\w+)\.py`", (FOLDER / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(path.stem for path in FOLDER.glob("*.py"))


def test_fit(capsys: pytest.CaptureFixture[str]) -> None:
    """By chance a third would be right."""
    assert example("fit").main(epochs=15) > 0.6
    assert "convolution" in capsys.readouterr().out


def test_own_tables() -> None:
    """By chance a third would be right."""
    assert example("own_tables").main(customers=150, epochs=15) > 0.5


def test_own_convolution() -> None:
    losses = example("own_convolution").main(epochs=4, depth=8)
    assert losses[-1] < losses[0]


def test_deepest_network() -> None:
    """Flat, but for the leaves of small tensors."""
    shallow, deep = example("deepest_network").main((10, 60))
    assert deep < 1.1 * shallow


def test_equilibrium() -> None:
    losses = example("equilibrium").main(epochs=4)
    assert losses[-1] < losses[0]


def test_distillation() -> None:
    """By chance a quarter would be right."""
    scores = example("distillation").main(epochs=10)
    assert scores.keys() == {"teacher", "alone", "student"}
    assert scores["teacher"] > 0.4


def test_molecules() -> None:
    assert example("molecules").main(molecules=150, epochs=12) > 0.6


def test_plain_loop() -> None:
    losses = example("plain_loop").main(epochs=4, depth=14)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("kind", ["random", "neighbor"])
def test_pyg_loaders(kind: str) -> None:
    if kind == "neighbor" and not (torch_geometric.typing.WITH_PYG_LIB or torch_geometric.typing.WITH_TORCH_SPARSE):
        pytest.skip("NeighborLoader needs pyg-lib or torch-sparse")
    losses = example("pyg_loaders").main(kind, epochs=3)
    assert losses[-1] < losses[0]


def test_lightning() -> None:
    pytest.importorskip("lightning")
    losses = example("lightning_module").main(epochs=4)
    assert losses[-1] < losses[0]
