"""A run that is stopped anywhere and resumed ends bit for bit like a run that never stopped."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from revgnn.train.config import RunConfig
from revgnn.train.run.events import EpochEnded, Event, Stepped
from revgnn.train.run.folder import RunFolder, RunFolderError
from revgnn.train.run.loop import Interrupted, train
from revgnn.train.run.tensor_file import CheckpointError, read_tensors

WALL_TIMES = ("seconds", "evaluation_seconds")


class Crash(BaseException):
    """The end of the process. Nothing in the library catches it."""


def assert_same_run(one: Path, other: Path) -> None:
    """Assert equal metrics, except wall times, and equal weights, optimiser states and random states."""
    for a, b in zip(RunFolder(one).metrics(), RunFolder(other).metrics(), strict=True):
        assert {k: v for k, v in a.items() if k not in WALL_TIMES} == {k: v for k, v in b.items() if k not in WALL_TIMES}
    for name in ("best.safetensors", "last.safetensors"):
        (tensors, note), (expected, expected_note) = read_tensors(one / name), read_tensors(other / name)
        assert tensors.keys() == expected.keys()
        for key, tensor in expected.items():
            assert torch.equal(tensors[key], tensor), f"{key} in {name}"
        for state in (note.get("state", {}), expected_note.get("state", {})):
            state.pop("metrics_bytes", None)  # depends on the digits of the wall times
        assert note == expected_note


@pytest.fixture(scope="module")
def unbroken(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never stopped, for comparison. Tests must not change it."""
    folder = tmp_path_factory.mktemp("runs") / "unbroken"
    train(config, folder)
    return folder


@pytest.fixture
def finished(unbroken: Path, tmp_path: Path) -> Path:
    """A copy of `unbroken` that a test may change."""
    return Path(shutil.copytree(unbroken, tmp_path / "finished"))


def crash_at(epoch: int, step: int) -> Callable[[Event], None]:
    def hook(event: Event) -> None:
        if isinstance(event, Stepped) and (event.epoch, event.step) == (epoch, step):
            raise Crash

    return hook


@pytest.mark.parametrize(("epoch", "step", "save_every"), [(1, 1, 1), (2, 1, 2), (3, 2, 1), (4, 3, 2)])
def test_crash_in_mid_epoch(config: RunConfig, unbroken: Path, tmp_path: Path, epoch: int, step: int, save_every: int) -> None:
    config = config.override([f"save_every={save_every}"])
    with pytest.raises(Crash):
        train(config, tmp_path / "a", hooks=[crash_at(epoch, step)])
    torch.manual_seed(1234)  # the generators of the next process
    train(config, tmp_path / "a", resume=True)
    assert_same_run(tmp_path / "a", unbroken)


@pytest.mark.parametrize("file", ["best.safetensors", "last.safetensors", "result.json"])
def test_crash_while_a_file_is_written(
    config: RunConfig, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    replace, writes = os.replace, []

    def crash_before_replacing(source: Path, target: Path) -> None:
        writes.append(Path(target).name)
        if writes.count(file) == (1 if file == "result.json" else 2):
            raise Crash
        replace(source, target)

    monkeypatch.setattr(os, "replace", crash_before_replacing)
    with pytest.raises(Crash):
        train(config, tmp_path / "a")
    monkeypatch.setattr(os, "replace", replace)
    train(config, tmp_path / "a", resume=True)
    assert_same_run(tmp_path / "a", unbroken)


@pytest.mark.parametrize("amp", ["none", "bf16"])
def test_rmsprop_resumes_bit_for_bit(config: RunConfig, tmp_path: Path, amp: str) -> None:
    config = config.override(["optim.name=rmsprop", "optim.weight_decay=1e-3", "optim.warmup=3", f"amp={amp}", "label_inputs=0.5"])
    config = config.override(["label_reuse=1", "epochs=3"])
    train(config, tmp_path / "unbroken")
    with pytest.raises(Crash):
        train(config, tmp_path / "a", hooks=[crash_at(3, 2)])
    torch.manual_seed(1234)
    train(config, tmp_path / "a", resume=True)
    assert_same_run(tmp_path / "a", tmp_path / "unbroken")
    tensors, _ = read_tensors(tmp_path / "a" / "last.safetensors")
    assert tensors["optimizer.0.square_avg"].any()


def test_metrics_after_the_saved_state_are_removed(config: RunConfig, unbroken: Path, tmp_path: Path) -> None:
    with pytest.raises(Crash):
        train(config, tmp_path / "a", hooks=[crash_at(3, 1)])
    with open(tmp_path / "a" / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 3, "loss": 0.6')
    train(config, tmp_path / "a", resume=True)
    assert_same_run(tmp_path / "a", unbroken)


@pytest.mark.parametrize("stop_after", [1, 4, 5, 6])
def test_a_run_stopped_on_request_continues_with_the_next_step(
    config: RunConfig, unbroken: Path, tmp_path: Path, stop_after: int
) -> None:
    steps: list[Event] = []

    def count(event: Event) -> None:
        if isinstance(event, Stepped):
            steps.append(event)

    with pytest.raises(Interrupted, match="everything is saved"):
        train(config, tmp_path / "a", hooks=[count], should_stop=lambda: len(steps) == stop_after)
    assert not (tmp_path / "a" / "result.json").exists()
    torch.manual_seed(1234)
    train(config, tmp_path / "a", resume=True, hooks=[count])
    assert len(steps) == config.epochs * config.parts  # no step was repeated
    # The peak memory of an interrupted first epoch may differ, since it is measured in two parts.
    if stop_after > config.parts:
        assert_same_run(tmp_path / "a", unbroken)


def test_a_longer_run_continues_a_shorter_one(config: RunConfig, unbroken: Path, tmp_path: Path) -> None:
    train(config.override(["epochs=2"]), tmp_path / "a")
    train(config, tmp_path / "a", resume=True)
    assert_same_run(tmp_path / "a", unbroken)


def test_resuming_a_finished_run_trains_nothing(config: RunConfig, finished: Path) -> None:
    before = RunFolder(finished).result()
    events: list[Event] = []
    assert train(config, finished, resume=True, hooks=[events.append]).as_dict() == before
    assert not any(isinstance(event, Stepped | EpochEnded) for event in events)


def test_resume_without_a_saved_state_starts_from_the_beginning(config: RunConfig, unbroken: Path, tmp_path: Path) -> None:
    train(config, tmp_path / "a", resume=True)
    assert_same_run(tmp_path / "a", unbroken)


def test_a_damaged_state_is_refused_with_advice(config: RunConfig, finished: Path) -> None:
    last = finished / "last.safetensors"
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    before = {p.name: p.read_bytes() for p in finished.iterdir()}
    with pytest.raises(CheckpointError, match=r"damaged.* best weights .* can still be used .*--overwrite"):
        train(config, finished, resume=True)
    assert {p.name: p.read_bytes() for p in finished.iterdir()} == before


def test_a_state_of_another_configuration_is_refused(config: RunConfig, finished: Path) -> None:
    other = config.override(["optim.lr=0.5"])
    (finished / "config.yaml").write_text(other.to_yaml())
    with pytest.raises(CheckpointError, match="another configuration"):
        train(other, finished, resume=True)


def test_metrics_cut_by_hand_are_refused(config: RunConfig, finished: Path) -> None:
    (finished / "metrics.jsonl").write_text("")
    with pytest.raises(CheckpointError, match="has 0 bytes, but had"):
        train(config, finished, resume=True)


def test_a_folder_without_a_run_is_not_resumed(config: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(RunFolderError, match="no run to resume"):
        train(config, tmp_path, resume=True)


SCRIPT = """
import os, signal, sys
from revgnn.train.config import RunConfig
from revgnn.train.run.events import Stepped
from revgnn.train.run.loop import train

def kill(event):
    if isinstance(event, Stepped) and (event.epoch, event.step) == (3, 2):
        os.kill(os.getpid(), signal.SIGKILL)

config, killed, unbroken, mode = RunConfig.from_yaml(sys.argv[1]), *sys.argv[2:]
if mode == "kill":
    train(config, killed, hooks=[kill])
train(config, killed, resume=True)
train(config, unbroken)
"""


def test_sigkill_in_mid_epoch(config: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(config.to_yaml())
    killed, unbroken = tmp_path / "killed", tmp_path / "unbroken"

    def process(mode: str) -> int:
        command = [sys.executable, "-c", SCRIPT, *map(str, (tmp_path / "run.yaml", killed, unbroken)), mode]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        return subprocess.run(command, env=environment, check=False).returncode

    assert process("kill") == -signal.SIGKILL
    assert not (killed / "result.json").exists()
    assert process("resume") == 0
    assert_same_run(killed, unbroken)
