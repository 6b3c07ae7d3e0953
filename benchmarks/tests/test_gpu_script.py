"""What `benchmarks/gpu.py` measures with, at tiny size on the CPU: time on a GPU is no time to debug."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from benchmarks.step import Batch
from revgnn.data import proteins_shaped

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.py"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "SHAPES", ({"channels": 8, "groups": 2, "depth": 2},))
    monkeypatch.setattr(module, "NAMED", {"small": {"channels": 8, "groups": 2, "depth": 3, "dropout": 0.1}})
    monkeypatch.setattr(module, "CAPTURED", {"small": {"channels": 8, "groups": 2, "depth": 3, "dropout": 0.1}})
    return module


def test_steps_and_epochs_are_measured(script: ModuleType) -> None:
    batch, device = Batch.on(proteins_shaped(60, 400)), torch.device("cpu")
    (steps,) = script.measure_steps(batch, device, repeats=2)
    assert {name: len(seconds) for name, seconds in steps["seconds"].items()} == {"revgnn": 2, "PyG": 2}
    assert all(peak > 0 for peak in steps["peak_bytes"].values())
    (epoch,) = script.measure_epochs(batch, device, limit=60.0)
    assert epoch["extrapolated_epoch_seconds"]["median"] == pytest.approx(10 * sorted(epoch["seconds"])[2])


def test_replayed_steps_are_measured(script: ModuleType) -> None:
    """On the CPU both are the step as it is."""
    (found,) = script.measure_captured(Batch.on(proteins_shaped(60, 400)), torch.device("cpu"), limit=60.0)
    assert {name: len(seconds) for name, seconds in found["seconds"].items()} == {"launched": 10, "replayed": 10}
    assert found["speed_up"]["median"] > 0
    assert found["launched_peak_bytes"] > 0


def test_a_part_that_fails_does_not_stop_the_others(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    script.CAPTURED = {"wrong": {"channels": 9, "groups": 2, "depth": 3, "dropout": 0.1}, **script.CAPTURED}
    wrong, right = script.measure_captured(Batch.on(proteins_shaped(60, 400)), torch.device("cpu"), limit=60.0)
    assert "channels must be a multiple of groups" in wrong["failed"]
    assert right["seconds"]
    assert "wrong: not measured" in capsys.readouterr().err
