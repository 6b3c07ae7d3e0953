"""Memory, strategies and solvers at tiny size; the list of benchmarks."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import pytest

from benchmarks import memory, registry, solvers, strategies
from benchmarks.networks import Shape


@pytest.mark.slow
def test_memory_of_shapes_and_rows(bench, capsys: pytest.CaptureFixture[str]):
    assert bench("memory", "--quick") == 0
    (result,) = bench.lines("memory")
    (shape,), (row,) = result["shapes"], result["rows"]
    assert shape["times_less"] == pytest.approx(shape["peak_bytes"]["PyG, shared"] / shape["peak_bytes"]["revgnn"])
    assert shape["peak_bytes"]["PyG, shared"] > 3 * 3000 * 8 * 4  # E x C, float32, several at a time
    assert (row["row"], row["published_bytes"], row["num_edges"], row["parameters"]) == (
        "RevGNN-64",
        2_090_000_000,
        3000,
        1_457_080,
    )
    assert "| RevGNN-64 | 2.09" in capsys.readouterr().out


def test_memory_interrupted(bench, interrupt_after: Callable[[int], None]):
    interrupt_after(1)
    with pytest.raises(KeyboardInterrupt):
        bench("memory", "--quick")
    (result,) = bench.lines("memory")
    assert len(result["shapes"]) == 1
    assert result["rows"] == []


def test_shapes_by_name():
    assert memory.parse_shape("64x2x7") == Shape(channels=64, groups=2, depth=7)
    for bad in ("64x2", "64x2x7x1", "ax2x7", "64x-2x7"):
        with pytest.raises(argparse.ArgumentTypeError, match="CHANNELSxGROUPSxLAYERS"):
            memory.parse_shape(bad)


def test_rows_that_are_not_there_are_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        memory.parse(["--rows", "RevGNN-65"])
    assert "table2 has no row 'RevGNN-65'" in capsys.readouterr().err


def test_strategies(bench, capsys: pytest.CaptureFixture[str]):
    assert bench("strategies", "--quick", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert [result] == bench.lines("strategies")
    assert set(result["seconds"]) == set(result["ratios"]) == set(strategies.CONTESTANTS)
    assert result["ratios"]["Backprop, grid"]["Backprop, grid"]["median"] == 1.0


def test_solvers(bench):
    assert bench("solvers", "--quick") == 0
    (result,) = bench.lines("solvers")
    assert all(len(r) == 1 for by in result["residuals"].values() for r in by.values())


def test_a_solver_that_states_a_wrong_residual(bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    right = solvers.Anderson.solve

    def wrong(self, f, z0):
        solution = right(self, f, z0)
        return solution._replace(residual=0.5 * solution.residual)

    monkeypatch.setattr(solvers.Anderson, "solve", wrong)
    assert bench("solvers", "--quick") == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Anderson states a residual" in printed.err
    assert not bench.folder.exists()


@pytest.mark.parametrize("name", registry.BENCHMARKS)
def test_every_benchmark_says_what_it_does(name: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        registry.main_of(name)(["--help"])
    assert stop.value.code == 0
    assert f"python -m benchmarks {name}" in capsys.readouterr().out


def test_an_unknown_benchmark():
    with pytest.raises(ValueError, match="there is no benchmark 'speed'; choose one of kernels"):
        registry.main_of("speed")
