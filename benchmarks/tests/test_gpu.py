"""What the benchmark of a GPU measures with, at tiny size on the CPU, so that no time on a GPU is spent on debugging."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu, gpu_steps
from benchmarks.networks import Batch, Shape
from revgnn.data import proteins_shaped

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _tiny_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_steps, "SHAPES", (Shape(8, 2, 2),))
    monkeypatch.setattr(gpu_steps, "MODELS", {"small": (Shape(8, 2, 3), 0.1)})
    monkeypatch.setattr(gpu_steps, "CAPTURED", {"small": (Shape(8, 2, 3), 0.1)})


def test_steps_and_epochs_are_measured() -> None:
    batch = Batch.on(proteins_shaped(60, 400))
    (steps,) = gpu_steps.measure_steps(batch, CPU, repeats=2)
    assert {name: len(seconds) for name, seconds in steps["seconds"].items()} == {"revgnn": 2, "PyG": 2, "revgnn, replayed": 2}
    assert steps["speed_up"].keys() == {"revgnn", "revgnn, replayed"}
    assert all(steps["peak_bytes"][name] > 0 for name in ("revgnn", "PyG"))
    (epoch,) = gpu_steps.measure_epochs(batch, CPU, limit=60.0)
    assert epoch["extrapolated_epoch_seconds"]["median"] == pytest.approx(10 * sorted(epoch["seconds"])[1])


def test_replayed_steps_are_measured() -> None:
    """On the CPU both are the step as it is."""
    (found,) = gpu_steps.measure_captured(Batch.on(proteins_shaped(60, 400)), CPU, limit=60.0)
    assert {name: len(seconds) for name, seconds in found["seconds"].items()} == {"launched": 10, "replayed": 10}
    assert found["speed_up"]["median"] > 0
    assert found["launched_peak_bytes"] > 0


def test_a_part_that_fails_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(gpu_steps, "CAPTURED", {"wrong": (Shape(9, 2, 3), 0.1), **gpu_steps.CAPTURED})
    wrong, right = gpu_steps.measure_captured(Batch.on(proteins_shaped(60, 400)), CPU, limit=60.0)
    assert "channels must be a multiple of groups" in wrong["failed"]
    assert right["seconds"]
    assert "wrong: not measured" in capsys.readouterr().err


def test_the_whole_run_adds_one_line(bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import gpu_checks

    monkeypatch.setattr(gpu_checks, "check_kernels", lambda device, quick: [])
    monkeypatch.setattr(gpu_checks.Tests, "FOLDERS", ("--version",))
    monkeypatch.setattr(gpu_checks.Tests, "finish", lambda tests: f"3 passed, {tests.process.wait()}")
    monkeypatch.setattr(gpu_steps, "batch_on", lambda device: Batch.on(proteins_shaped(60, 400)))
    args = gpu.parse(["--json", "--repeats", "2", "--results", str(bench.folder)])
    assert gpu.run(args, CPU, began=0.0) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [printed] == [json.loads(line) for line in (bench.folder / "gpu.jsonl").read_text().splitlines()]
    assert printed["tests"] == "3 passed, 0"
    assert [entry["model"] for entry in printed["models"]] == ["small"]


@pytest.mark.slow
def test_tests_that_fail_are_reported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import gpu_checks

    assert all((ROOT / folder).is_dir() for folder in gpu_checks.Tests.FOLDERS)
    monkeypatch.setattr(gpu_checks.Tests, "FOLDERS", ("no_such_folder",))
    with pytest.raises(AssertionError, match=r"pytest returned [45]"):
        gpu_checks.Tests().finish()
    assert capsys.readouterr().out


@pytest.mark.slow
def test_it_runs_as_a_script_from_any_folder(tmp_path: Path) -> None:
    """Modules beside the script, such as `profile`, do not hide those of the standard library."""
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu.py"), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "python -m benchmarks gpu" in done.stdout
