"""A busy machine is noticed when a command starts, and threads then sleep while they wait; results stay the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from revgnn.cli import waiting

CORES = 4


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of four cores in files: /proc/stat and the control group. Torch is not imported, and the user has set nothing."""
    for name in waiting._CHOSEN_BY_USER:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(CORES)))
    monkeypatch.setattr(waiting, "_PROC_STAT", tmp_path / "stat")
    monkeypatch.setattr(waiting, "_CGROUP", tmp_path)
    uses(tmp_path, monkeypatch, [0.0] * CORES)
    return tmp_path


def uses(machine: Path, monkeypatch: pytest.MonkeyPatch, shares: list[float]) -> None:
    """Let others use these shares of the cores while the process sleeps."""
    start = "\n".join(f"cpu{n} 100 50 20 5000 10 1 2 3 0 0" for n in range(len(shares)))
    (machine / "stat").write_text(f"cpu 1 2 3 4\n{start}\nintr 5\n")

    def sleep(_: float) -> None:
        lines = (f"cpu{n} {100 + round(100 * u)} 50 20 {5000 + round(100 - 100 * u)} 10 1 2 3 0 0" for n, u in enumerate(shares))
        (machine / "stat").write_text("\n".join(lines))

    monkeypatch.setattr(waiting.time, "sleep", sleep)


@pytest.mark.parametrize(
    ("shares", "is_busy"), [([0.0] * 4, False), ([0.1] * 4, False), ([1.0, 0, 0, 0], True), ([0.2] * 4, True), ([1.0] * 4, True)]
)
def test_a_busy_machine_is_noticed(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shares: list[float], is_busy: bool
) -> None:
    uses(machine, monkeypatch, shares)
    waiting.choose_waiting()
    said = capsys.readouterr()
    assert os.environ.pop("OMP_WAIT_POLICY", None) == ("PASSIVE" if is_busy else None)
    assert said.out == ""
    assert said.err.count("\n") == is_busy
    assert (f"other processes use {sum(shares):.1f} of 4 cores" in said.err) == is_busy


def test_one_busy_core_of_many_does_not_count(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    uses(machine, monkeypatch, [1.0, *[0.0] * 63])
    assert waiting._reason() is None
    uses(machine, monkeypatch, [1.0] * 8 + [0.0] * 56)
    assert waiting._reason() == "other processes use 8.0 of 64 cores"


def test_cores_that_the_process_may_not_use_do_not_count(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    uses(machine, monkeypatch, [0.0, 0.0, 1.0, 1.0])
    assert waiting._reason() is None


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"cpu.max": "200000 100000\n"}, 2.0),
        ({"cpu.max": "50000 100000\n"}, 0.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu.max": "damaged"}, None),
        ({}, None),
    ],
)
def test_the_limit_of_a_container(machine: Path, files: dict[str, str], limit: float | None) -> None:
    (machine / "cpu").mkdir()
    for name, text in files.items():
        (machine / name).write_text(text)
    assert waiting._core_limit() == limit
    assert waiting._reason() == (None if limit is None else f"this process may use {limit:g} of 4 cores")


@pytest.mark.parametrize("name", waiting._CHOSEN_BY_USER)
def test_what_the_user_has_set_is_not_touched(machine: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    uses(machine, monkeypatch, [1.0] * CORES)
    monkeypatch.setenv(name, "2")
    before = dict(os.environ)
    waiting.choose_waiting()
    assert dict(os.environ) == before


def test_after_torch_is_imported_it_is_too_late(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uses(machine, monkeypatch, [1.0] * CORES)
    monkeypatch.setitem(sys.modules, "torch", sys)
    waiting.choose_waiting()
    assert "OMP_WAIT_POLICY" not in os.environ


def test_a_system_that_does_not_tell_changes_nothing(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting.time, "sleep", lambda _: None)
    for text in ("", "cpu0\n", "cpux 1 2", None):
        (machine / "stat").unlink() if text is None else (machine / "stat").write_text(text)
        assert waiting._reason() is None


@pytest.mark.slow
def test_a_training_on_a_busy_machine(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in waiting._CHOSEN_BY_USER}
    network = ["--preset", "revgnn-7", "--set", "model.depth=2", "--set", "model.channels=8"]
    words = ["train", "synthetic:nodes=240,degree=8", *network, "--epochs", "1", "-q", "--out", str(tmp_path / "a")]
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in os.sched_getaffinity(0)]
    try:
        done = subprocess.run([sys.executable, "-m", "revgnn", *words], env=environment, capture_output=True, text=True, check=True)
    finally:
        for other in others:
            other.kill()
            other.wait()
    if len(others) > 1:
        assert "other processes use" in done.stderr
        assert "OMP_WAIT_POLICY=PASSIVE" in done.stderr
        assert json.loads((tmp_path / "a" / "environment.json").read_text())["omp_wait_policy"] == "PASSIVE"
