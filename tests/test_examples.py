"""The examples run, and what they train learns something."""

from __future__ import annotations

import importlib.util
import re
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
    spec.loader.exec_module(module)
    return module


def test_every_example_is_in_the_table() -> None:
    listed = re.findall(r"^\| `(\w+)\.py`", (FOLDER / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(path.stem for path in FOLDER.glob("*.py"))


def test_fit(capsys: pytest.CaptureFixture[str]) -> None:
    """By chance a third would be right."""
    assert example("fit").main(epochs=15) > 0.6
    assert "convolution" in capsys.readouterr().out


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
