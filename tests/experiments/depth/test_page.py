"""The page of a depth study: made from depth.json alone, whatever of it is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from revgnn.experiments.run_files.studies import NAME
from revgnn.experiments.run_report.report import Wishes, write_report
from revgnn.train.config.errors import ConfigError
from tests.experiments.run_report.browser import browser, find_browser

NO_PNG = Wishes(png=False)


def alone(values: dict[str, Any], folder: Path) -> Path:
    """Return a folder with nothing but the JSON of a study."""
    folder.mkdir()
    (folder / NAME).write_text(json.dumps(values))
    return folder


def test_the_page(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """All that the JSON says is there; the runs are not needed."""
    folder, values = alone(finished[1], tmp_path / "a"), finished[1]
    report = write_report([folder], tmp_path / "page", NO_PNG)
    text = report.page.read_text()
    assert report.runs == 4
    assert values["families"]["reversible"]["verdict"] in text
    for cell in values["cells"]:
        assert f"{cell['test']['mean']:.4f}" in text
        assert f"{cell['chosen']['optim.lr']:g}" in text
    (difference,) = values["families"]["reversible"]["differences"]
    assert f"{difference['gain']:+.4f}" in text
    wanted = {"score-by-depth", "memory-by-depth", "time-by-depth", "influence-reversible", "field-reversible"}
    wanted |= {"dirichlet-reversible", "rank-reversible", "size-reversible", "gradient-reversible"}
    assert wanted == {name.removesuffix(".svg") for name in report.pictures}
    assert 'class="band f1"' in (report.page.parent / "score-by-depth.svg").read_text()
    assert not report.notes


def test_families_of_one_depth(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """Networks are compared with each other, and nothing is said of depths."""
    values = json.loads(json.dumps(finished[1]))
    first, second = values["cells"][:2]
    second |= {"family": "tied", "depth": first["depth"]}
    for run in second["runs"]:
        run["test"] += 0.0625
    values["cells"], values["plan"]["depths"] = [first, second], [first["depth"]]
    values["families"] = {family: {"verdict": "of depths", "differences": []} for family in ("reversible", "tied")}
    text = write_report([alone(values, tmp_path / "a")], tmp_path / "page", NO_PNG).page.read_text()
    assert "beside reversible: tied" in text
    assert "Differences between networks" in text
    assert "of depths" not in text


def test_runs_of_a_study_have_their_own_page(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    report = write_report([finished[0] / "runs"], tmp_path / "page", Wishes(details=0, png=False))
    assert report.runs == 4
    assert "Learning curves" in report.page.read_text()


def test_a_study_that_has_hardly_begun(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    values = json.loads(json.dumps(finished[1]))
    values |= {"graph": None, "environment": None, "metric": None, "finished": False}
    for cell in values["cells"]:
        cell |= dict.fromkeys(("valid", "test", "parameters", "peak_bytes", "seconds_per_epoch", "chosen", "reasons"))
        cell |= {"runs": [], "error": "<b>no</b> candidate"}
    values["families"]["reversible"] = {"verdict": "Depths cannot be compared yet.", "differences": []}
    report = write_report([alone(values, tmp_path / "a")], tmp_path / "page", NO_PNG)
    text = report.page.read_text()
    assert not report.pictures
    assert "&lt;b&gt;no&lt;/b&gt; candidate" in text


def test_a_horizon_is_drawn(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    values = json.loads(json.dumps(finished[1]))
    values["graph"]["horizon"] = {"hops": 3, "reach": 3, "chance": 0.25, "ceiling": 1.0}
    report = write_report([alone(values, tmp_path / "a")], tmp_path / "page", NO_PNG)
    assert "chance" in (report.page.parent / "score-by-depth.svg").read_text()
    assert "what the label depends on" in (report.page.parent / "influence-reversible.svg").read_text()
    assert "labels depend on nodes 3 hops away" in report.page.read_text()


@pytest.mark.parametrize("damage", ["", "3", "[]", '{"version": 7}', '{"version": 1, "cells": []}'])
def test_a_damaged_study(damage: str, tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(damage)
    with pytest.raises(ConfigError, match="writes it again"):
        write_report([tmp_path], tmp_path / "page", NO_PNG)


@pytest.mark.skipif(find_browser() is None, reason="no Chromium here")
def test_it_fits_a_phone_and_a_desk(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    report = write_report([finished[0]], tmp_path / "page", NO_PNG)
    program = find_browser()
    assert program is not None
    with browser(program) as page:
        for width in (390, 1280):
            page.open(report.page, width=width, dark=width < 600)
            assert page.run("document.documentElement.scrollWidth") <= width
            assert page.run("[...document.querySelectorAll('svg.chart')].filter(s => s.getClientRects().length).length") == 9
            assert not page.complaints
            assert page.requests == [report.page.resolve().as_uri()]
