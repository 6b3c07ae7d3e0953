"""Turns are fair, ratios are taken within a round, and results outlive what stops a run."""

from __future__ import annotations

import argparse
import json
import os
import signal
from pathlib import Path

import pytest
import torch

from benchmarks import harness
from benchmarks.harness import progress_bar


def test_everybody_has_equal_turns():
    calls: list[str] = []
    seconds = harness.interleaved({name: lambda name=name: calls.append(name) for name in "abc"}, 3)
    assert calls == list("abcbcacab")
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3, "c": 3}


def test_ratios_are_taken_within_a_round():
    assert harness.ratios([10.0, 40.0, 30.0], [1.0, 2.0, 1.0]) == (20.0, 10.0, 30.0)
    many = harness.Spread.of([float(n) for n in range(1, 100)])
    assert many.median == 50
    assert (many.low, many.high) == (10, 90)


def test_memory_counts_a_call():
    x = torch.ones(1000)
    assert harness.peak_memory({"one": lambda: x + 1, "two": lambda: x + 1 + 1}) == {"one": 4000, "two": 8000}


def test_lines_are_added(tmp_path: Path):
    harness.append_line({"a": 1}, "step", tmp_path)
    path = harness.append_line({"a": 2}, "step", tmp_path)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [{"a": 1}, {"a": 2}]
    assert [p.name for p in tmp_path.iterdir()] == ["step.jsonl"]


def test_table_is_markdown():
    assert harness.table(["a", "long name"], [["1", 2], ["333", 4]]).splitlines() == [
        "| a   | long name |",
        "|-----|-----------|",
        "| 1   | 2         |",
        "| 333 | 4         |",
    ]


def options(tmp_path: Path, *words: str) -> argparse.Namespace:
    parser = harness.make_parser("x", "What it does.\n\nMore.")
    parser.add_argument("--nodes", type=int, default=1000)
    return harness.parse(parser, [*words, "--results", str(tmp_path)], {"nodes": 10})


def test_quick_changes_defaults_only(tmp_path: Path):
    assert options(tmp_path).nodes == 1000
    assert options(tmp_path, "--quick").nodes == 10
    assert options(tmp_path, "--quick", "--nodes", "7").nodes == 7


def test_quick_results_are_kept_apart(tmp_path: Path):
    assert options(tmp_path).results == tmp_path
    assert options(tmp_path, "--quick").results == tmp_path / "quick"


def measure_until(error: type[BaseException], folder: Path, **found: object) -> None:
    with harness.result_line("x", {"nodes": 3}, options(folder)) as result:
        result |= found
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_what_was_measured_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str], error: type[BaseException]):
    with pytest.raises(error):
        measure_until(error, tmp_path, seconds=[1.0, 2.0])
    (line,) = (tmp_path / "x.jsonl").read_text().splitlines()
    kept = json.loads(line)
    assert kept["seconds"] == [1.0, 2.0]
    assert kept["stopped_by"] == error.__name__
    assert "stopped; what was measured until then was added" in capsys.readouterr().err


def test_nothing_is_kept_of_nothing(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        measure_until(KeyboardInterrupt, tmp_path, seconds={})
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)])
def test_a_request_to_end_keeps_what_was_measured(tmp_path: Path, number: signal.Signals):
    def told_to_end() -> None:
        with harness.result_line("x", {"nodes": 3}, options(tmp_path)) as result:
            result["seconds"] = [1.0]
            os.kill(os.getpid(), number)

    before = signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit) as stop:
            told_to_end()
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, before)
    assert stop.value.code == 128 + number
    assert json.loads((tmp_path / "x.jsonl").read_text())["stopped_by"] == "Terminated"


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_what_is_ignored_stays_ignored(tmp_path: Path):
    """As under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with harness.result_line("x", {"nodes": 3}, options(tmp_path)) as result:
            os.kill(os.getpid(), signal.SIGHUP)
            result["seconds"] = [1.0]
    finally:
        signal.signal(signal.SIGHUP, before)
    assert "stopped_by" not in json.loads((tmp_path / "x.jsonl").read_text())


@pytest.mark.skipif(os.name != "posix", reason="process numbers")
def test_what_a_killed_run_had_kept_is_added_by_the_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with harness.result_line("x", {"nodes": 3}, options(tmp_path)) as result:
        result["seconds"] = [1.0]
        result.save_partial()
        assert json.loads(result.partial.read_text())["seconds"] == [1.0]
        harness.recover("x", tmp_path)  # that run is still alive
        assert result.partial.exists()
        dead = tmp_path / ".x.999999999.partial"
        dead.write_bytes(result.partial.read_bytes())
        (tmp_path / ".y.999999999.partial").write_text("of another benchmark")
    harness.recover("x", tmp_path)
    assert [json.loads(line).get("stopped_by") for line in (tmp_path / "x.jsonl").read_text().splitlines()] == [None, "killed"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [".y.999999999.partial", "x.jsonl"]
    assert "an earlier run was killed" in capsys.readouterr().err


def test_a_wrong_result_is_said_and_later_checks_are_not_run(capsys: pytest.CaptureFixture[str]):
    ran = []

    def wrong() -> None:
        raise AssertionError("2 is not 3")

    assert harness.checks_pass(lambda: ran.append("first"))
    assert not harness.checks_pass(wrong, lambda: ran.append("second"))
    assert ran == ["first"]
    assert capsys.readouterr().err == "no figures, because the results are wrong: 2 is not 3\n"


def test_results_and_figures_go_into_the_checkout():
    root = Path(__file__).resolve().parents[2]
    assert root / "benchmarks" / "results" == harness.RESULTS
    assert root / "docs" / "figures" == harness.FIGURES


def test_progress_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    clock = iter([0.0, 4.0, 12.0, 13.0])
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: next(clock))
    with harness.progress("layers", 10) as tick:
        tick("one")
        tick("four", by=3)
        tick("five")
    assert capsys.readouterr().err == "layers: 40 %, 12 s, left 18 s  four\n"


def test_progress_announces_what_begins(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    clock = iter([0.0, 1.0, 2.0, 3.0])
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: next(clock))
    with harness.progress("layers", 10) as tick:
        tick("a long one", by=0)
        tick("done", by=5)
        tick("another", by=0)
    assert capsys.readouterr().err == "layers: 0 %, 1 s  a long one\nlayers: 50 %, 3 s, left 3 s  another\n"
