"""Depth against time and memory: the line that parts layers from the rest, what fits, and the plots."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import pytest
import torch

from benchmarks import checks, harness
from benchmarks.depth import command, curves, networks
from benchmarks.networks import Shape

needs_matplotlib = pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed")


@pytest.mark.slow
@needs_matplotlib
def test_data_and_plots_by_one_command(bench, capsys: pytest.CaptureFixture[str]):
    assert bench("depth", "--quick", "--plot") == 0
    (result,) = bench.lines("depth")
    curves = {(p["curve"], p["depth"]) for p in result["depths"]}
    assert curves == {
        *((curve, n) for curve in (networks.REVERSIBLE, networks.STORED) for n in (1, 2)),
        (networks.PEER, 1),
    }
    assert [p["groups"] for p in result["groups"]] == [2, 4]
    assert set(result["lines"]) == {networks.REVERSIBLE, networks.STORED}  # a line wants two points
    figures = {path: path.read_bytes() for path in (bench.folder / "quick").glob("*.svg")}
    assert {path.name for path in figures} == {"depth.svg", "groups.svg"}
    for drawing in figures.values():
        assert len(drawing) < 100_000
        assert ElementTree.fromstring(drawing).tag.endswith("svg")
    assert "ms a layer" in capsys.readouterr().out

    assert bench("depth", "--quick", "--redraw") == 0
    assert {path: path.read_bytes() for path in figures} == figures


@pytest.mark.slow
def test_storing_grows_with_depth_and_reversing_does_not(bench):
    shape = ("--depths", "2", "24", "--peer-depths", "--groups-sweep", "--nodes", "400", "--edges", "500")
    assert bench("depth", "--quick", *shape) == 0
    (result,) = bench.lines("depth")
    # the gradients of the parameters grow whatever one does; they are small here, and taken off
    peak = {(p["curve"], p["depth"]): p["peak_bytes"] - p["parameter_bytes"] for p in result["depths"]}
    assert peak[networks.STORED, 24] > 2 * peak[networks.STORED, 2]
    assert peak[networks.REVERSIBLE, 24] < 1.3 * peak[networks.REVERSIBLE, 2]


def test_a_line_through_points_of_very_different_size():
    depths = [3, 7, 112, 1001]
    slope, outside = curves.line_through(depths, [0.04 * n + 0.3 for n in depths]) or (0, 0)
    assert slope == pytest.approx(0.04)
    assert outside == pytest.approx(0.3)
    # one percent at a thousand layers does not move what the shallow ones say
    slope, outside = curves.line_through(depths, [0.04 * n * (1.01 if n == 1001 else 1) + 0.3 for n in depths]) or (0, 0)
    assert slope == pytest.approx(0.04, rel=0.02)
    assert outside == pytest.approx(0.3, rel=0.05)
    assert curves.line_through([5], [1.0]) is None


def test_what_a_stored_network_would_need():
    points = [{"curve": networks.STORED, "depth": d, "peak_bytes": 1000 + 100 * d} for d in (3, 7)]
    assert curves.expected_bytes(points, 14) == 2400
    assert curves.expected_bytes(points[:1], 10_000) is None


@pytest.mark.slow
def test_a_stored_network_that_would_not_fit_is_left_out(bench, capsys: pytest.CaptureFixture[str]):
    shape = ("--depths", "1", "2", "40", "--peer-depths", "--groups-sweep", "--limit-gb", "0.001")
    assert bench("depth", "--quick", *shape) == 0
    (result,) = bench.lines("depth")
    assert [(p["curve"], p["depth"]) for p in result["left_out"]] == [(networks.STORED, 40)]
    assert {(p["curve"], p["depth"]) for p in result["depths"]} >= {(networks.REVERSIBLE, 40), (networks.STORED, 2)}
    assert "left out: Backprop, 40 layers" in capsys.readouterr().out


def test_turns_are_of_like_length():
    assert [networks.num_rounds(d, 5) for d in (3, 112, 1001, 2000, 10_000)] == [5, 5, 5, 2, 1]
    assert [networks.steps_per_turn(d, 112) for d in (3, 7, 14, 28, 112, 1001)] == [16, 16, 8, 4, 1, 1]
    assert [networks.reference_steps(d, 112) for d in (3, 112, 1001, 10_000)] == [1, 1, 2, 5]


class Stub(networks.Network):
    """Takes as long as its layers times the pace of the machine, which gets slower all the time."""

    pace = 1.0
    order: ClassVar[list[int]] = []

    @classmethod
    def of(cls, layers: int) -> Stub:
        shape = Shape(channels=2, groups=2, depth=layers)
        point = {"curve": networks.REVERSIBLE, "depth": layers, "seconds": [], "reference_seconds": [], "peak_bytes": 1}
        return cls(shape, networks.REVERSIBLE, torch.nn.Identity(), lambda: None, point)

    def turn(self, steps: int) -> float:
        Stub.order += [self.shape.depth] * steps
        seconds = (0.02 * self.shape.depth + 0.1) * Stub.pace
        Stub.pace += 0.01
        return seconds


def test_drift_is_not_taken_for_depth():
    turning, reference = [Stub.of(d) for d in (3, 28, 112, 1001)], Stub.of(112)
    ticked, kept = [], []
    networks.take_turns(turning, reference, 3, lambda note="", by=1: ticked.append(by), lambda: kept.append(1))
    assert len(kept) == 12
    assert sum(ticked) == networks.total_work(turning, 112, 3)
    result = {"reference": 112, "depths": [n.point for n in turning], "groups": []}
    curves.add_curves(result)
    # the pace has gone up by a fifth meanwhile
    assert max(turning[0].point["seconds"]) > 1.15 * min(turning[0].point["seconds"])
    for network in turning:
        assert network.point["over_reference"] == pytest.approx([1.0] * 3, abs=0.01)
    assert result["lines"][networks.REVERSIBLE]["seconds_outside"] == pytest.approx(0.1, rel=0.2)


def test_the_reference_stands_before_and_after_every_turn():
    Stub.order, turning = [], [Stub.of(d) for d in (56, 1001, 10_000)]
    networks.take_turns(turning, Stub.of(112), 1, lambda note="", by=1: None, lambda: None)
    assert Stub.order == [112, 56, 56, 112, 112, 1001, *[112] * 5, 10_000, *[112] * 5]


@pytest.mark.slow
def test_interrupted(bench, interrupt_after: Callable[[int], None]):
    interrupt_after(9)  # all seven are watched, and two have had their turn
    with pytest.raises(KeyboardInterrupt):
        bench("depth", "--quick")
    (result,) = bench.lines("depth")
    assert result["stopped_by"] == "KeyboardInterrupt"
    assert [len(p["seconds"]) for p in result["depths"]] == [1, 1, 0, 0, 0]
    assert all(p["peak_bytes"] for p in result["depths"])
    assert [len(p.get("over_reference", [])) for p in result["depths"]] == [1, 1, 0, 0, 0]


@pytest.mark.slow
def test_killed(bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """The next run finds what the one before had on disk."""
    kept: list[str] = []
    save = harness.Result.save_partial

    def spy(self: harness.Result) -> None:
        save(self)
        kept.append(self.partial.read_text())

    monkeypatch.setattr(harness.Result, "save_partial", spy)
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
    right = checks.gradients

    def wrong(model, batch):
        found = right(model, batch)
        return [g * (1 + 1e-7) for g in found] if model.config.gradient is None else found

    monkeypatch.setattr(checks, "gradients", wrong)
    assert bench("depth", "--quick", "--plot") == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "does not give the gradients of Backprop" in printed.err
    assert not bench.folder.exists()


def test_figures_go_beside_the_documentation(tmp_path: Path):
    assert command.parse([]).figures.parts[-2:] == ("docs", "figures")
    assert command.parse(["--quick", "--results", str(tmp_path)]).figures == tmp_path / "quick"


def test_groups_must_divide_the_channels(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        command.parse(["--channels", "20", "--groups-sweep", "2", "8"])
    assert "20 does not go with [8]" in capsys.readouterr().err
