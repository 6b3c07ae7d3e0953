"""Depth against time and memory: the line that parts layers from the rest, what fits, and the plots."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import pytest
import torch

from benchmarks import depth, harness, strategies

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


def test_what_a_stored_network_would_need():
    points = [{"curve": depth.STORED, "depth": d, "peak_bytes": 1000 + 100 * d} for d in (3, 7)]
    assert depth.expected_bytes(points, 14) == 2400
    assert depth.expected_bytes(points[:1], 10_000) is None


def test_a_stored_network_that_would_not_fit_is_left_out(bench, capsys: pytest.CaptureFixture[str]):
    shape = ("--depths", "1", "2", "40", "--peer-depths", "--groups-sweep", "--limit-gb", "0.001")
    assert bench("depth", "--quick", *shape) == 0
    (result,) = bench.lines("depth")
    assert [(p["curve"], p["depth"]) for p in result["left_out"]] == [(depth.STORED, 40)]
    assert {(p["curve"], p["depth"]) for p in result["depths"]} >= {(depth.REVERSIBLE, 40), (depth.STORED, 2)}
    assert "left out: Backprop, 40 layers" in capsys.readouterr().out


def test_turns_are_of_like_length():
    assert [depth.rounds(d, 5) for d in (3, 112, 1001, 2000, 10_000)] == [5, 5, 5, 2, 1]
    assert [depth.steps_a_turn(d, 112) for d in (3, 7, 14, 28, 112, 1001)] == [16, 16, 8, 4, 1, 1]
    assert [depth.reference_steps(d, 112) for d in (3, 112, 1001, 10_000)] == [1, 1, 2, 5]


class Stub(depth.Network):
    """Takes as long as its layers times the pace of the machine, which gets slower all the time."""

    pace = 1.0
    order: ClassVar[list[int]] = []

    @classmethod
    def of(cls, layers: int) -> Stub:
        shape = argparse.Namespace(depth=layers, groups=2)
        point = {"curve": depth.REVERSIBLE, "depth": layers, "seconds": [], "reference_seconds": [], "peak_bytes": 1}
        return cls(shape, depth.REVERSIBLE, torch.nn.Identity(), lambda: None, point)

    def turn(self, steps: int) -> float:
        Stub.order += [self.shape.depth] * steps
        seconds = (0.02 * self.shape.depth + 0.1) * Stub.pace
        Stub.pace += 0.01
        return seconds


def test_drift_is_not_taken_for_depth():
    networks, reference = [Stub.of(d) for d in (3, 28, 112, 1001)], Stub.of(112)
    ticked, kept = [], []
    depth.take_turns(networks, reference, 3, lambda note, by: ticked.append(by), lambda: kept.append(1))
    assert len(kept) == 12
    assert sum(ticked) == depth.work_in_layers(networks, 112, 3)
    result = {"reference": 112, "depths": [n.point for n in networks], "groups": []}
    depth.finish(result)
    # the pace has gone up by a fifth meanwhile
    assert max(networks[0].point["seconds"]) > 1.15 * min(networks[0].point["seconds"])
    for network in networks:
        assert network.point["over_reference"] == pytest.approx([1.0] * 3, abs=0.01)
    assert result["lines"][depth.REVERSIBLE]["seconds_outside"] == pytest.approx(0.1, rel=0.2)


def test_the_reference_stands_before_and_after_every_turn():
    Stub.order, networks = [], [Stub.of(d) for d in (56, 1001, 10_000)]
    depth.take_turns(networks, Stub.of(112), 1, lambda note, by: None, lambda: None)
    assert Stub.order == [112, 56, 56, 112, 112, 1001, *[112] * 5, 10_000, *[112] * 5]


def test_interrupted(bench, interrupt_after: Callable[[int], None]):
    interrupt_after(9)  # all seven are watched, and two have had their turn
    with pytest.raises(KeyboardInterrupt):
        bench("depth", "--quick")
    (result,) = bench.lines("depth")
    assert result["stopped_by"] == "KeyboardInterrupt"
    assert [len(p["seconds"]) for p in result["depths"]] == [1, 1, 0, 0, 0]
    assert all(p["peak_bytes"] for p in result["depths"])
    assert [len(p.get("over_reference", [])) for p in result["depths"]] == [1, 1, 0, 0, 0]


def test_killed(bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """The next run finds what the one before had on disk."""
    kept: list[str] = []
    keep = harness.Result.keep

    def spy(self: harness.Result) -> None:
        keep(self)
        kept.append(self.partial.read_text())

    monkeypatch.setattr(harness.Result, "keep", spy)
    shape = ("--quick", "--depths", "1", "--peer-depths", "--groups-sweep")
    assert bench("depth", *shape) == 0
    assert not list((bench.folder / "quick").glob(".*"))
    (bench.folder / "quick" / ".depth.999999999.partial").write_text(kept[1])
    assert bench("depth", *shape) == 0
    whole, killed, again = bench.lines("depth")
    assert killed["stopped_by"] == "killed"
    assert len(killed["depths"]) == 2
    assert "stopped_by" not in whole
    assert "stopped_by" not in again
    assert "an earlier run was killed; what it had measured was added" in capsys.readouterr().err


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
