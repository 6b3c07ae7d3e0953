"""Depth against time and memory: the line that parts layers from the rest, what fits, and the plots."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from revgnn.bench import depth, strategies

needs_matplotlib = pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed")


@needs_matplotlib
def test_data_and_plots_by_one_command(bench, capsys: pytest.CaptureFixture[str]):
    assert bench("depth", "--quick", "--plot") == 0
    (result,) = bench.lines("depth")
    curves = {(p["curve"], p["depth"]) for p in result["depths"]}
    assert curves == {
        *((curve, n) for curve in (depth.REVERSIBLE, depth.STORED) for n in (1, 2)),
        (depth.PEER, 1),
    }
    assert [p["groups"] for p in result["groups"]] == [2, 4]
    assert set(result["lines"]) == {depth.REVERSIBLE, depth.STORED}  # a line wants two points
    figures = {path: path.read_bytes() for path in (bench.folder / "quick").glob("*.svg")}
    assert {path.name for path in figures} == {"depth.svg", "groups.svg"}
    for drawing in figures.values():
        assert len(drawing) < 100_000
        assert ElementTree.fromstring(drawing).tag.endswith("svg")
    assert "ms a layer" in capsys.readouterr().out

    assert bench("depth", "--quick", "--redraw") == 0
    assert {path: path.read_bytes() for path in figures} == figures


def test_storing_grows_with_depth_and_reversing_does_not(bench):
    shape = ("--depths", "2", "24", "--peer-depths", "--groups-sweep", "--nodes", "400", "--edges", "500")
    assert bench("depth", "--quick", *shape) == 0
    (result,) = bench.lines("depth")
    # the gradients of the parameters grow whatever one does; they are small here, and taken off
    peak = {(p["curve"], p["depth"]): p["peak_bytes"] - p["parameter_bytes"] for p in result["depths"]}
    assert peak[depth.STORED, 24] > 2 * peak[depth.STORED, 2]
    assert peak[depth.REVERSIBLE, 24] < 1.3 * peak[depth.REVERSIBLE, 2]


def test_a_line_through_points_of_very_different_size():
    depths = [3, 7, 112, 1001]
    slope, outside = depth.line_through(depths, [0.04 * n + 0.3 for n in depths]) or (0, 0)
    assert slope == pytest.approx(0.04)
    assert outside == pytest.approx(0.3)
    # one percent at a thousand layers does not move what the shallow ones say
    slope, outside = depth.line_through(depths, [0.04 * n * (1.01 if n == 1001 else 1) + 0.3 for n in depths]) or (0, 0)
    assert slope == pytest.approx(0.04, rel=0.02)
    assert outside == pytest.approx(0.3, rel=0.05)
    assert depth.line_through([5], [1.0]) is None


def test_a_stored_network_that_would_not_fit_is_left_out():
    points = [{"curve": depth.STORED, "depth": d, "peak_bytes": 1000 + 100 * d} for d in (3, 7)]
    assert depth.fits(points, 14, 2401)
    assert not depth.fits(points, 14, 2400)
    assert depth.fits(points, 10_000, None)
    assert depth.fits(points[:1], 10_000, 1)


def test_rounds_shrink_with_depth():
    assert [depth.rounds(d, 5) for d in (3, 28, 56, 112, 1001, 10_000)] == [5, 5, 2, 1, 1, 1]


def test_interrupted(bench, interrupt_after: Callable[[int], None]):
    interrupt_after(5)  # one depth with its three curves, then in the middle of the next
    with pytest.raises(KeyboardInterrupt):
        bench("depth", "--quick")
    (result,) = bench.lines("depth")
    assert result["stopped_by"] == "KeyboardInterrupt"
    assert {p["depth"] for p in result["depths"]} == {1}


def test_wrong_gradients_print_no_figures(bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    right = strategies.gradients

    def wrong(model, batch):
        found = right(model, batch)
        return [g * (1 + 1e-7) for g in found] if model.config.gradient is None else found

    monkeypatch.setattr(strategies, "gradients", wrong)
    assert bench("depth", "--quick", "--plot") == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "does not give the gradients of Backprop" in printed.err
    assert not bench.folder.exists()


def test_figures_go_beside_the_documentation(tmp_path: Path):
    assert depth.parse([]).figures.parts[-2:] == ("docs", "figures")
    assert depth.parse(["--quick", "--results", str(tmp_path)]).figures == tmp_path / "quick"


def test_groups_must_divide_the_channels(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        depth.parse(["--channels", "20", "--groups-sweep", "2", "8"])
    assert "20 does not go with [8]" in capsys.readouterr().err
