"""Memory of a training step, as configured and with every layer stored."""

from __future__ import annotations

import pytest

from revgnn.train.config import RunConfig
from revgnn.train.run import footprint
from revgnn.train.run.footprint import compare_footprint


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
