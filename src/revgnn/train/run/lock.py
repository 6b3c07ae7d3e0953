"""One process owns the folder of a run at a time.

The owner holds a lock of the operating system (`flock`) on the file `run.lock`. The system releases it when the process ends, in
whatever way, so the lock of a dead process is never in the way. The file names the owner, for the message that others get.

A folder on a network file system is locked for all hosts if the file system shares such locks between hosts, as NFS, CephFS, and
Lustre with `-o flock` do. Where locks are not supported at all, or a process of another host left its file behind, a warning says
so.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from revgnn.files import remove_empty

LOCK_NAME = "run.lock"

_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


class RunFolderError(ValueError):
    """A folder that a run cannot be written to, or resumed from."""


@contextmanager
def owning(folder: Path) -> Iterator[None]:
    """Own the folder within the block. It is created if it is missing, and removed at the end if nothing was put into it.

    Raises:
        RunFolderError: if another process owns it, or it is a file. The message names the folder, the process and what to do.
        OSError: if it cannot be created or written to.
    """
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    lock = _acquire(folder)
    try:
        yield
    finally:
        # Removed before the lock is released, so that nobody can lock a file that is about to go.
        (folder / LOCK_NAME).unlink(missing_ok=True)
        os.close(lock)
        remove_empty(created)


def _acquire(folder: Path) -> int:
    """Return the open file that holds the lock."""
    path = folder / LOCK_NAME
    while True:
        if folder.exists() and not folder.is_dir():
            raise RunFolderError(f"{folder} is a file; choose a folder to write to.")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:  # its last owner has just removed the empty folder
            continue
        try:
            if _lock(lock, folder) and _is_at(lock, path):
                _warn_of_other_host(_owner(lock), folder)
                os.ftruncate(lock, 0)
                os.pwrite(lock, json.dumps(_this_process()).encode(), 0)
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)  # its last owner removed the file between our opening and locking it


def _lock(lock: int, folder: Path) -> bool:
    """Lock the open file. True also where the file system has no locks, with a warning.

    Raises:
        RunFolderError: if another process holds the lock.
    """
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = _owner(lock)
        who = f"process {owner['pid']} on {owner['host']} since {owner['began']}" if owner else "another process"
        raise RunFolderError(
            f"{folder} is in use by {who}; wait until it ends, stop it, or choose another folder with --out."
        ) from None
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise OSError(error.errno, error.strerror, str(folder / LOCK_NAME)) from error
        warnings.warn(
            f"{folder} is on a file system without locks; make sure that no other process writes to it meanwhile.", stacklevel=2
        )
    return True


def _is_at(lock: int, path: Path) -> bool:
    """Return whether the open file is still the one at that path."""
    try:
        return os.path.samestat(os.fstat(lock), os.stat(path))
    except FileNotFoundError:
        return False


def _this_process() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "boot": _boot(),
        "began": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _owner(lock: int) -> dict[str, Any] | None:
    """Return what the owner wrote; None if it has not written yet."""
    try:
        owner = json.loads(os.pread(lock, 4096, 0))
    except ValueError:
        return None
    return owner if isinstance(owner, dict) and owner.keys() >= {"pid", "host", "boot", "began"} else None


def _warn_of_other_host(owner: dict[str, Any] | None, folder: Path) -> None:
    """Warn if a process of another host did not end properly: not every file system shares its locks between hosts.

    Containers on one machine have different host names but the same kernel, which identifies its start by a random number.
    """
    if owner is None or owner["host"] == socket.gethostname() or (owner["boot"] is not None and owner["boot"] == _boot()):
        return
    warnings.warn(
        f"process {owner['pid']} on {owner['host']} wrote to {folder} since {owner['began']} and did not end properly; if it "
        "still runs there, stop it.",
        stacklevel=2,
    )


def _boot() -> str | None:
    """Return the random number of the system's start on Linux, else None."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
