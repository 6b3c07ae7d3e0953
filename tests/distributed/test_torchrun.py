"""The command under torchrun: what it prints and writes, elastic restarts, signals."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from revgnn.train import RunFolder
from tests.distributed.launch import ROOT, environment
from tests.distributed.test_data_parallel import assert_same_result

SETTINGS = {"depth": 3, "channels": 8, "dropout": 0.3, "norm": "batch"}
EPOCHS = 12


def command(folder: Path, *more: str, epochs: int = EPOCHS) -> list[str]:
    settings = [f"--set=model.{name}={value}" for name, value in SETTINGS.items()]
    settings += ["--set=parts=4", f"--set=epochs={epochs}", "--device=cpu"]
    data = "synthetic:nodes=240,degree=8,tasks=3"
    return ["-m", "revgnn", "train", data, "--preset=revgnn-28", *settings, "--out", str(folder), *more]


def torchrun(size: int, *options: str) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={size}", *options]


def start(words: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        words, env=environment(), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def finish(process: subprocess.Popen[str], seconds: float = 240.0) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, out, err


def succeeds(words: list[str]) -> str:
    """Run a command that must end well, and return what it prints."""
    code, out, err = finish(start(words))
    assert code == 0, err
    return out


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def epochs_of(folder: Path) -> int:
    return len(RunFolder(folder).metrics())


def worker(agent: int, rank: int) -> int:
    """Return the process of this rank among the children of torchrun's agent."""
    for pid in Path(f"/proc/{agent}/task/{agent}/children").read_text().split():
        words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        if f"RANK={rank}".encode() in words:
            return int(pid)
    raise AssertionError(f"no process of rank {rank}")


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run that one process has trained."""
    folder = tmp_path_factory.mktemp("one") / "run"
    code, _, err = finish(start([sys.executable, *command(folder, "--set=parts_per_step=2", "-q")]))
    assert code == 0, err
    return folder


@pytest.mark.slow
def test_the_command_prints_once_and_gives_the_bits_of_one_process(one: Path, tmp_path: Path) -> None:
    code, out, err = finish(start([*torchrun(2), *command(tmp_path / "run")]))
    assert code == 0, err
    assert out.count("parts_per_step=2, one part for each") == 1
    assert out.count("best valid") == 1
    assert_same_result(tmp_path / "run", one)


@pytest.mark.slow
def test_torchrun_starts_again_what_was_killed(one: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start([*torchrun(2, "--max-restarts=1"), *command(folder)])
    wait_for(lambda: folder.exists() and epochs_of(folder) >= 2)
    os.kill(worker(process.pid, 1), signal.SIGKILL)
    code, _, err = finish(process)
    assert code == 0, err
    assert_same_result(folder, one)


@pytest.mark.slow
def test_sigterm_to_torchrun_saves_the_run(one: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = start([*torchrun(2), *command(folder)])
    wait_for(lambda: folder.exists() and epochs_of(folder) >= 2)
    process.send_signal(signal.SIGTERM)
    code, _, err = finish(process)
    assert code != 0
    assert err.count("everything is saved in") == 1, err
    saved = {p.name for p in folder.iterdir()}
    assert "last.safetensors" in saved
    assert "result.json" not in saved
    code, _, err = finish(start([*torchrun(3), "-m", "revgnn", "train", "--resume", "--out", str(folder), "-q"]))
    assert code == 0, err
    assert_same_result(folder, one)


@pytest.mark.slow
def test_two_agents_on_one_machine_are_two_nodes(one: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meet = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}", "--rdzv-id=t"]
    agent = [sys.executable, "-m", "torch.distributed.run", *meet, *command(tmp_path / "run")]
    for code, _, err in [finish(process) for process in [start(agent), start(agent)]]:
        assert code == 0, err
    assert_same_result(tmp_path / "run", one)


@pytest.mark.slow
def test_errors_are_printed_once(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a run")
    code, _, err = finish(start([*torchrun(2), *command(tmp_path)]))
    assert code != 0
    assert err.count("error: ") == 1, err
    assert "is not empty; continue it with --resume" in err
    code, _, err = finish(start([*torchrun(2), *command(tmp_path, "--seeds=0,1")]))
    assert code != 0
    assert "several processes train one run; leave out --seeds" in err
