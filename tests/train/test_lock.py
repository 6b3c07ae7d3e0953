"""A run belongs to one process: the second one is told so, and a dead one is not in the way."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from revgnn.train.config import RunConfig
from revgnn.train.run.events import Event, Stepped
from revgnn.train.run.folder import RunFolder, RunFolderError
from revgnn.train.run.lock import LOCK_NAME, owning
from revgnn.train.run.loop import train

HOLD = """
import os, signal, sys
from pathlib import Path
from revgnn.train.run.lock import owning
with owning(Path(sys.argv[1])):
    print("owned", flush=True)
    sys.stdin.readline()
    if sys.argv[2] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
"""


def other_owner(folder: Path, end: str) -> subprocess.Popen[str]:
    """Start another process that owns the folder until it is sent a line."""
    command = [sys.executable, "-c", HOLD, str(folder), end]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "owned\n"
    return process


def test_a_second_process_is_told_who_owns_the_folder(config: RunConfig, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    process = other_owner(folder, "end")
    for resume, overwrite in ((False, False), (True, False), (False, True)):
        with pytest.raises(RunFolderError, match=rf"{folder} is in use by process {process.pid} on .*; .* with out"):
            train(config, folder, resume=resume, overwrite=overwrite)
    assert [p.name for p in folder.iterdir()] == [LOCK_NAME]
    process.communicate("\n", timeout=60)
    assert not folder.exists()  # nothing was put into it
    train(config.override(["epochs=1"]), folder)
    assert sorted(p.name for p in folder.iterdir()) == sorted(RunFolder.FILES)


def test_two_trainings_in_one_process_exclude_each_other(config: RunConfig, tmp_path: Path) -> None:
    refused: list[str] = []

    def train_again(event: Event) -> None:
        if isinstance(event, Stepped) and not refused:
            with pytest.raises(RunFolderError, match=f"in use by process {os.getpid()}") as error:
                train(config, tmp_path / "a", resume=True)
            refused.append(str(error.value))

    train(config.override(["epochs=1"]), tmp_path / "a", hooks=[train_again])
    assert refused


def test_the_lock_of_a_killed_process_is_not_in_the_way(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    process = other_owner(folder, "kill")
    process.communicate("\n", timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert (folder / LOCK_NAME).exists()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with owning(folder):
            assert json.loads((folder / LOCK_NAME).read_text())["pid"] == os.getpid()
            (folder / "kept").touch()
    assert [p.name for p in folder.iterdir()] == ["kept"]


def test_a_run_killed_before_it_wrote_anything_can_be_started_again(config: RunConfig, tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).write_text("")
    (tmp_path / ".config.yaml.0123456789abcdef.tmp").write_text("epochs: 1")
    train(config.override(["epochs=1"]), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(RunFolder.FILES)


def test_a_process_of_another_host_that_did_not_end_properly_is_named(tmp_path: Path) -> None:
    owner = {"pid": 123, "host": "elsewhere", "boot": "of another machine", "began": "2026-01-01T00:00:00+00:00"}
    (tmp_path / LOCK_NAME).write_text(json.dumps(owner))
    with pytest.warns(UserWarning, match="process 123 on elsewhere wrote to .* since 2026-01-01"), owning(tmp_path):
        pass
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"pid": 1}', "\x00\xff"])
def test_a_damaged_lock_file_is_not_in_the_way(tmp_path: Path, content: str) -> None:
    (tmp_path / LOCK_NAME).write_text(content)
    with owning(tmp_path):
        pass


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with pytest.warns(UserWarning, match="file system without locks"), owning(tmp_path / "a"):
        pass
    assert not (tmp_path / "a").exists()


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / LOCK_NAME).symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match=LOCK_NAME), owning(tmp_path):
        pass
    assert (tmp_path / "precious").read_text() == "mine"


def test_leftovers_of_killed_runs_are_removed_on_resume(config: RunConfig, tmp_path: Path) -> None:
    train(config.override(["epochs=1"]), tmp_path / "a")
    for name in RunFolder.FILES:
        (tmp_path / "a" / f".{name}.0123456789abcdef.tmp").touch()
    train(config.override(["epochs=2"]), tmp_path / "a", resume=True)
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == sorted(RunFolder.FILES)
