"""A run that is stopped anywhere and resumed ends bit for bit like a run that never stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from revgnn.train.config import RunConfig
from revgnn.train.inference.evaluate import evaluate_run
from revgnn.train.run.events import EpochEnded, Event, Stepped
from revgnn.train.run.folder import RunFolder, RunFolderError
from revgnn.train.run.loop import Interrupted, train
from revgnn.train.run.tensor_file import CheckpointError, read_tensors, write_tensors

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
            for field in ("metrics_bytes", "metrics_lines"):  # depend on the digits of the wall times
                state.pop(field, None)
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


@pytest.mark.parametrize("amp", ["none", pytest.param("bf16", marks=pytest.mark.slow)])
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
    with pytest.raises(CheckpointError, match=r"damaged.* best weights .* can still be used .*overwrite=True"):
        train(config, finished, resume=True)
    assert {p.name: p.read_bytes() for p in finished.iterdir()} == before


def test_a_state_of_another_configuration_is_refused(config: RunConfig, finished: Path) -> None:
    other = config.override(["optim.lr=0.5"])
    (finished / "config.yaml").write_text(other.to_yaml())
    with pytest.raises(CheckpointError, match="another configuration"):
        train(other, finished, resume=True)


# --- what a run can lose -------------------------------------------------------------------------------------------------


def stopped_after(epochs: int, config: RunConfig, folder: Path) -> None:
    """Train a run and stop it in the first step after some epochs."""
    steps: list[Event] = []

    def count(event: Event) -> None:
        steps.extend([event] if isinstance(event, Stepped) else [])

    with pytest.raises(Interrupted):
        train(config, folder, hooks=[count], should_stop=lambda: len(steps) == epochs * config.parts + 1)


METRICS = {
    "lost": lambda content: None,
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "damaged": lambda content: content.replace(b'"epoch": 1', b'"epoch": x', 1),
    "of another type": lambda content: b'[1]\n"epoch"\n' + content,
    "binary": lambda content: bytes(range(256)) * 40,
}


@pytest.mark.parametrize("how", METRICS)
@pytest.mark.parametrize("epochs", [2, 4])
def test_metrics_that_are_lost_do_not_stop_a_run(config: RunConfig, unbroken: Path, tmp_path: Path, how: str, epochs: int) -> None:
    """The saved state is whole: weights and result are those of a run that never stopped."""
    folder, file = tmp_path / "a", tmp_path / "a" / "metrics.jsonl"
    if epochs < config.epochs:
        stopped_after(epochs, config, folder)
    else:
        shutil.copytree(unbroken, folder)
    content = METRICS[how](file.read_bytes())
    file.unlink() if content is None else file.write_bytes(content)
    with pytest.warns(UserWarning, match=rf"metrics.jsonl was damaged .* it has \d of {epochs} epochs"):
        result = train(config, folder, resume=True)
    expected = RunFolder(unbroken).result()
    assert expected is not None
    for name in ("best_epoch", "train", "valid", "test", "epochs"):
        assert result.as_dict()[name] == expected[name]
    kept = [line["epoch"] for line in RunFolder(folder).metrics()]
    assert kept == sorted(set(kept))
    assert set(range(epochs + 1, config.epochs + 1)) <= set(kept)
    (tensors, _), (wanted, _) = (read_tensors(where / "last.safetensors") for where in (folder, unbroken))
    assert all(torch.equal(tensors[name], wanted[name]) for name in wanted)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if kept:
            train(config, folder, resume=True)  # it is said once


BEST = {
    "lost": lambda folder: (folder / "best.safetensors").unlink(),
    "damaged": lambda folder: (folder / "best.safetensors").write_bytes((folder / "best.safetensors").read_bytes()[:-20]),
    "of another epoch": lambda folder: _rename_epoch(folder / "best.safetensors"),
}


def _rename_epoch(path: Path) -> None:
    tensors, note = read_tensors(path)
    write_tensors(path, tensors, {**note, "epoch": 0})


@pytest.mark.parametrize("how", BEST)
@pytest.mark.parametrize("epochs", [2, 4])
def test_a_run_never_reports_weights_that_it_does_not_have(
    config: RunConfig, unbroken: Path, tmp_path: Path, how: str, epochs: int
) -> None:
    folder = tmp_path / "a"
    if epochs < config.epochs:
        stopped_after(epochs, config, folder)
    else:
        shutil.copytree(unbroken, folder)
    BEST[how](folder)
    with pytest.warns(UserWarning, match="best.safetensors .* chosen anew, from epoch"):
        result = train(config, folder, resume=True)
    assert result.best_epoch >= epochs
    scores = evaluate_run(folder)
    assert (scores["epoch"], scores["train"], scores["valid"], scores["test"]) == (
        *(result.best_epoch, result.train, result.valid, result.test),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert train(config, folder, resume=True) == result


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("optimizer.0.exp_avg", lambda t: t[:1], r"optimizer.0.exp_avg in .* is torch.float32 of shape"),
        ("optimizer.0.exp_avg", lambda t: t.double(), r"optimizer.0.exp_avg in .* is torch.float64"),
        ("optimizer.0.step", lambda t: t.expand(2), r"optimizer.0.step in .* of shape \(2,\); this run's is .* of shape \(\)"),
        ("optimizer.0.exp_avg_sq", lambda t: None, r"optimizer.0.exp_avg_sq is missing"),
        ("optimizer.999.step", lambda t: torch.tensor(1.0), r"optimizer.999.step in .* is not part of this run's optimiser"),
        ("optimizer.0.momentum", lambda t: torch.tensor(1.0), r"optimizer.0.momentum in .* is not part of"),
        ("model.head.weight", lambda t: t.double(), r"weight head.weight in .* is torch.float64, the model's is torch.float32"),
        ("rng.cpu", lambda t: t[:10], r"no state of torch's random generators"),
        ("rng.cpu", lambda t: None, r"no state of torch's random generators"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(
    config: RunConfig, finished: Path, name: str, change: Callable[[Any], Any], message: str
) -> None:
    tensors, note = read_tensors(finished / "last.safetensors")
    changed = change(tensors.get(name))
    tensors = {k: v for k, v in tensors.items() if k != name} | ({} if changed is None else {name: changed.contiguous()})
    write_tensors(finished / "last.safetensors", tensors, note)
    with pytest.raises(CheckpointError, match=message):
        train(config, finished, resume=True)


@pytest.mark.parametrize("change", [{"epoch": -1}, {"step": 1.5}, {"best_epoch": 0}, {"loss_count": True}, {"metrics_bytes": "9"}])
def test_a_state_that_no_run_can_have_is_refused(config: RunConfig, finished: Path, change: dict[str, Any]) -> None:
    tensors, note = read_tensors(finished / "last.safetensors")
    write_tensors(finished / "last.safetensors", tensors, {**note, "state": {**note["state"], **change}})
    with pytest.raises(CheckpointError, match="a state that no run can have"):
        train(config, finished, resume=True)


def test_a_state_of_earlier_versions_resumes(config: RunConfig, unbroken: Path, tmp_path: Path) -> None:
    """It has the settings of the optimiser, a checksum of the values only, and the best weights lack two scores."""
    stopped_after(2, config, tmp_path / "a")
    last, best = tmp_path / "a" / "last.safetensors", tmp_path / "a" / "best.safetensors"
    tensors, note = read_tensors(last)
    note["param_groups"] = [{"lr": 0.5, "betas": [0.1, 0.2], "params": [0]}]  # read from the configuration now
    _write_as_earlier(last, tensors, note)
    tensors, note = read_tensors(best)
    _write_as_earlier(best, tensors, {key: note[key] for key in ("epoch", "valid")})
    train(config, tmp_path / "a", resume=True)
    assert_same_run(tmp_path / "a", unbroken)


def _write_as_earlier(path: Path, tensors: dict[str, torch.Tensor], note: dict[str, Any]) -> None:
    crc = 0
    for name in sorted(tensors):
        crc = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy().data, crc)
    save_file(tensors, path, metadata={"note": json.dumps(note), "crc32": str(crc)})


def test_resume_says_which_versions_changed(config: RunConfig, finished: Path) -> None:
    file = finished / "environment.json"
    now = json.loads(file.read_text())
    before = {**now, "threads": now["threads"] + 7, "packages": {**now["packages"], "torch": "1.0", "numba": "0.1"}}
    file.write_text(json.dumps(before))
    with pytest.warns(UserWarning, match="was begun with") as caught:
        train(config, finished, resume=True)
    said = str(caught[0].message)
    for part in (f"torch 1.0 (now {now['packages']['torch']})", "numba 0.1 (now", f"{now['threads'] + 7} threads (now"):
        assert part in said
    assert "last digits" in said
    assert json.loads(file.read_text()) == {**now, "earlier": [before]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(config, finished, resume=True)
    assert json.loads(file.read_text()) == {**now, "earlier": [before]}


@pytest.mark.parametrize("content", ["", "[]", '{"packages": 3}', '{"packages": {}, "threads": 2}', None])
def test_a_damaged_environment_file_does_not_stop_a_run(config: RunConfig, finished: Path, content: str | None) -> None:
    file = finished / "environment.json"
    file.unlink() if content is None else file.write_text(content)
    with pytest.warns(UserWarning, match="environment.json cannot be read"):
        train(config, finished, resume=True)
    assert json.loads(file.read_text())["packages"]["torch"] == torch.__version__


def test_a_damaged_result_is_named(config: RunConfig, finished: Path) -> None:
    (finished / "result.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"result.json is damaged; delete it"):
        RunFolder(finished).result()
    train(config, finished, resume=True)
    assert RunFolder(finished).result() is not None


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
