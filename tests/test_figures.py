"""The figures of docs/how-it-works.md are those that the script draws, and those of depth studies are made from the studies."""

from __future__ import annotations

import importlib.util
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from revgnn.cli.app import app

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "figures"


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture
def draw(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for name in ("charts", "diagrams"):
        monkeypatch.setitem(sys.modules, name, module(name))
    return module("draw")


@pytest.mark.parametrize("name", ["coupling", "aggregation", "memory", "depth"])
def test_figures_are_up_to_date(draw: ModuleType, name: str) -> None:
    """If this fails: python docs/figures/draw.py"""
    assert (FOLDER / f"{name}.svg").read_text(encoding="utf-8") == draw.FIXED[name]()


def test_every_figure_is_drawn_by_the_script_or_a_benchmark_or_from_a_study(draw: ModuleType) -> None:
    studies = {path.parent.name for path in (FOLDER.parent / "studies").glob("*/depth.json")}
    of_studies = {*studies, "ring-transfer-influence"}
    assert {path.stem for path in FOLDER.glob("*.svg")} == {*draw.FIXED, *draw.COMPUTED, "groups", *of_studies}


@pytest.mark.parametrize("name", sorted(path.parent.name for path in (FOLDER.parent / "studies").glob("*/depth.json")))
def test_the_curve_of_a_study_is_the_picture_of_its_report(name: str, tmp_path: Path) -> None:
    words = ["report", str(FOLDER.parent / "studies" / name), "--out", str(tmp_path / "page")]
    assert CliRunner().invoke(app, words).exit_code == 0
    drawn = (tmp_path / "page" / "score-by-depth.svg").read_text(encoding="utf-8")
    assert drawn == (FOLDER / f"{name}.svg").read_text(encoding="utf-8")


def test_a_state_on_the_grid_does_not_drift(draw: ModuleType) -> None:
    half, plain, grid = draw.charts.drift(depth=24, nodes=60).series
    assert set(grid.y) == {draw.charts.FLOOR}
    assert half.y[-1] > 1e-8
    assert plain.y[-1] > 1e-8


def test_solvers_reach_a_solution(draw: ModuleType) -> None:
    fixed, *fast = draw.charts.solves(nodes=60).series
    assert all(series.y[-1] < 1e-4 for series in fast)
    assert all(len(series.y) <= len(fixed.y) for series in fast)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.svg")), ids=lambda path: path.stem)
def test_files_are_small_and_text_has_two_themes(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    ET.fromstring(text)  # our own files
    assert len(text) < (60_000 if path.stem != "depth" else 70_000)
    if path.stem not in ("depth", "groups"):  # these stand on white
        assert "prefers-color-scheme: dark" in text
        assert re.search(r'<rect class="paper"', text)
