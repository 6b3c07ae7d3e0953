"""Memory of a training step, as configured and with every layer stored."""

from __future__ import annotations

import pytest

from revgnn.train.config import RunConfig
from revgnn.train.run import footprint
from revgnn.train.run.footprint import compare_footprint, step_peaks


def test_storing_every_layer_needs_memory_that_grows_with_depth(config: RunConfig) -> None:
    needs = [compare_footprint(config.override([f"model.depth={depth}", "parts=1"])) for depth in (16, 48)]
    assert all(need.stored_is_measured and need.gradient == "reversible" for need in needs)
    assert needs[1].stored_bytes > 2.5 * needs[0].stored_bytes
    assert needs[1].peak_bytes < 1.5 * needs[0].peak_bytes


def test_what_does_not_fit_is_extrapolated(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = config.override(["model.depth=48", "parts=1"])
    measured = compare_footprint(deep)
    monkeypatch.setattr(footprint, "free_bytes", lambda device: 0)
    estimated = compare_footprint(deep)
    assert not estimated.stored_is_measured
    assert estimated.stored_bytes == pytest.approx(measured.stored_bytes, rel=0.05)


DATA = {"name": "synthetic:nodes=200,degree=6,tasks=2"}


@pytest.mark.slow
def test_steps_of_four_depths_under_each_strategy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Storing grows in proportion to depth, checkpoints less, reversing hardly; the run's own step is as measured alone."""
    data = {"name": "synthetic:nodes=1500,degree=4,tasks=2"}
    deep = RunConfig.parse({"data": data, "model": {"family": "reversible", "depth": 16, "channels": 16}, "device": "cpu"})
    peaks = {(peak.gradient, peak.depth): peak.peak_bytes for peak in step_peaks(deep)}
    assert {depth for _, depth in peaks} == {2, 4, 8, 16}
    assert len(peaks) == 12
    own = compare_footprint(deep)
    assert (peaks["reversible", 16], peaks["backprop", 16]) == (own.peak_bytes, own.stored_bytes)
    slope = peaks["backprop", 8] - peaks["backprop", 4]
    assert peaks["backprop", 16] - peaks["backprop", 8] == pytest.approx(2 * slope, rel=0.05)
    assert peaks["reversible", 16] < peaks["checkpoint", 16] < peaks["backprop", 16]
    assert peaks["reversible", 16] - peaks["reversible", 4] < 0.2 * (peaks["backprop", 16] - peaks["backprop", 4])
    monkeypatch.setattr(footprint, "free_bytes", lambda device: 2.2 * peaks["backprop", 8])
    assert {peak.depth for peak in step_peaks(deep) if peak.gradient == "backprop"} == {2, 4, 8}


def test_strategies_that_a_network_does_not_have() -> None:
    residual = RunConfig.parse({"data": DATA, "model": {"family": "residual", "depth": 4, "channels": 8}, "device": "cpu"})
    assert [(p.gradient, p.depth) for p in step_peaks(residual)] == [
        ("backprop", 2),
        ("backprop", 4),
        ("checkpoint", 2),
        ("checkpoint", 4),
    ]
    tied = RunConfig.parse(
        {"data": DATA, "model": {"family": "reversible", "depth": 4, "channels": 8, "tied": True}, "device": "cpu"}
    )
    assert {p.depth for p in step_peaks(tied)} == {2, 4}
    solved = RunConfig.parse({"data": DATA, "model": {"family": "equilibrium", "depth": 4, "channels": 8}, "device": "cpu"})
    with pytest.raises(ValueError, match="no layers to store"):
        step_peaks(solved)
