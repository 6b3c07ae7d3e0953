"""`python -m benchmarks` as a command: the list, options, exit codes, errors."""

from __future__ import annotations

import pytest

from benchmarks import registry
from benchmarks.__main__ import main


def test_without_a_name_it_lists_what_there_is(capsys: pytest.CaptureFixture[str]):
    assert main([]) == 0
    printed = capsys.readouterr().out
    for name, entry in registry.BENCHMARKS.items():
        assert f"  {name}" in printed
        assert entry.about in printed


@pytest.mark.parametrize("words", [["--quick", "--depth", "3"], ["--help"], ["-h"], []])
def test_options_are_handed_on(words: list[str], monkeypatch: pytest.MonkeyPatch):
    called = []
    monkeypatch.setattr(registry, "main_of", lambda name: lambda given: called.append((name, given)) or 0)
    assert main(["step", *words]) == 0
    assert called == [("step", words)]


def test_unknown_name_is_one_line(capsys: pytest.CaptureFixture[str]):
    assert main(["speed"]) == 2
    stderr = capsys.readouterr().err
    assert stderr.splitlines() == [stderr.strip()]
    assert "there is no benchmark 'speed'" in stderr


def test_debug_shows_the_error_itself():
    with pytest.raises(ValueError, match="there is no benchmark 'speed'"):
        main(["speed", "--debug"])


def test_all_goes_on_after_one_that_refuses(monkeypatch: pytest.MonkeyPatch):
    called = []

    def main_of(name: str):
        return lambda words: called.append((name, words)) or int(name == "step")

    monkeypatch.setattr(registry, "main_of", main_of)
    assert main(["all", "--quick"]) == 1
    assert called == [(name, ["--quick"]) for name in registry.names_of_all()]
    assert {"step", "depth"} <= set(registry.names_of_all()) < set(registry.BENCHMARKS)


def test_interrupted(monkeypatch: pytest.MonkeyPatch):
    def stop(_words: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(registry, "main_of", lambda name: stop)
    assert main(["step"]) == 130
