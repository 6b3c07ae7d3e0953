"""`revgnn bench` from the outside: what is a benchmark's own is in tests/bench."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from benchmarks import registry
from revgnn.cli.app import app


def test_without_a_name_it_lists_what_there_is():
    result = CliRunner().invoke(app, ["bench"])
    assert result.exit_code == 0
    for name in registry.available():
        assert f"  {name}" in result.stdout


@pytest.mark.parametrize("words", [["--quick", "--depth", "3"], ["--help"], ["-h"], []])
def test_options_are_handed_on(words: list[str], monkeypatch: pytest.MonkeyPatch):
    called = []
    monkeypatch.setattr(registry, "main_of", lambda name: lambda given: called.append((name, given)) or 0)
    assert CliRunner().invoke(app, ["bench", "step", *words]).exit_code == 0
    assert called == [("step", words)]


def test_unknown_name_is_one_line():
    result = CliRunner().invoke(app, ["bench", "speed"])
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [result.stderr.strip()]
    assert "there is no benchmark 'speed'" in result.stderr


def test_all_goes_on_after_one_that_refuses(monkeypatch: pytest.MonkeyPatch):
    called = []

    def main_of(name: str):
        return lambda words: called.append((name, words)) or int(name == "step")

    monkeypatch.setattr(registry, "main_of", main_of)
    result = CliRunner().invoke(app, ["bench", "all", "--quick"])
    assert result.exit_code == 1
    assert called == [(name, ["--quick"]) for name in registry.available()]


def test_interrupted(monkeypatch: pytest.MonkeyPatch):
    def stop(_words: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(registry, "main_of", lambda name: stop)
    result = CliRunner().invoke(app, ["bench", "step"])
    assert result.exit_code == 130
