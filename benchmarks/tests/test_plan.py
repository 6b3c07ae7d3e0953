"""Plans beside measurements, at tiny size."""

from __future__ import annotations

import pytest

from benchmarks import plan


@pytest.mark.slow
def test_plans_beside_measurements(bench, capsys: pytest.CaptureFixture[str]):
    assert bench("plan", "--quick", "--only", "RevGNN, GCN") == 0
    (result,) = bench.lines("plan")
    (network,) = result["networks"].values()
    assert network["planned_bytes"] == pytest.approx(sum(network["parts"].values()), abs=8)
    assert abs(network["planned_bytes"] / network["measured_bytes"] - 1) <= result["worst_memory_error"] < 0.02
    assert network["planned_seconds"] > 0
    assert result["worst_seconds_error"] >= result["median_seconds_error"] >= 0
    assert "| RevGNN, GCN | " in capsys.readouterr().out


def test_networks_that_are_not_there_are_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        plan.parse(["--only", "RevGNN"])
    assert "the grid has no 'RevGNN'" in capsys.readouterr().err


def test_the_grid_is_one_of_runs():
    """Thirty configurations or more, of every family, convolution and gradient strategy."""
    runs = [plan.run_of(entry) for entry in plan.GRID.values()]
    assert len(runs) >= 30
    assert {run.model.family for run in runs} == {"residual", "reversible", "equilibrium", "revgat"}
    assert {run.model.conv for run in runs} == {"gen", "gcn", "sage", "gat"}
    assert {run.model.effective_gradient for run in runs} >= {"backprop", "checkpoint", "reversible", "implicit", "phantom"}
