"""Writing files and folders in one step: first under a temporary name beside the target, then renamed.

A reader finds the old content or the new one, never a part of it. Every failure is an `OSError` that names the target. Only regular
files are replaced: a device, a pipe or a folder is refused. If the target is a symbolic link to a regular file, or to nothing, the
link itself is replaced; the file that it points to stays as it is.
"""

from __future__ import annotations

import errno
import glob
import json
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of an empty temporary file to write to; at the end of the block that file replaces `path`.

    The temporary name cannot be guessed and is created exclusively, so a link that someone else has put there is never followed. A
    file that is replaced keeps its permissions. If the block raises, the temporary file is deleted and `path` stays as it was.

    Raises:
        OSError: if `path` is no regular file, or cannot be written. It names `path`.
    """
    check_regular(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    with _naming(path, temporary):
        # The mode that the user's umask gives; safetensors would create a file that only the owner can read.
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666))
        try:
            mode = stat.S_IMODE((path if path.is_file() else temporary).stat().st_mode)
            yield temporary
            # The content reaches the disk before the name does, so that a power cut leaves one whole file.
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(mode)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Remove temporary files that processes left which were killed while they replaced `path`.

    Only the owner of the folder may call this: another process may be writing at this moment.
    """
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        leftover.unlink(missing_ok=True)


def is_leftover(path: Path) -> bool:
    """Return whether this is the name of a temporary file of `replacing`."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty temporary folder to fill; at the end of the block it replaces `folder`.

    If the block raises, the temporary folder is deleted and `folder` stays as it was.

    Raises:
        OSError: if `folder` cannot be written. It names `folder`, or the file in it that could not be written.
    """
    with _naming(folder):
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        try:
            yield temporary
            # A rename cannot replace a folder that is not empty. A process that has mapped the old files can still read them.
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, see `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, see `replacing`."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def append(path: Path, content: bytes) -> int:
    """Append to a file, which is created if it is missing, and return its new length. It reaches the disk before this returns.

    Raises:
        OSError: if `path` is no regular file, or cannot be written. It names `path`, which is cut back to its old length.
    """
    check_regular(path)
    with _naming(path), open(path, "ab", buffering=0) as file:
        before = file.tell()
        try:
            if file.write(content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        except BaseException:
            file.truncate(before)
            raise
        return file.tell()


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders, the innermost first, up to the first that is not empty."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


def expanded(path: Path | str) -> Path:
    """Return a path with `~` and `~name` as the home folder. Where there is no such home, they stay, as in a shell."""
    return Path(os.path.expanduser(path))


def check_regular(path: Path) -> None:
    """Raise `OSError` if there is something at `path` that is neither a regular file nor a link to one, or to nothing."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(mode)), "no regular file")
        raise OSError(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL, f"is {kind}; name a file to write", str(path))


@contextmanager
def _naming(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Let errors name `path` if they name no file, or the temporary one. Errors about other files pass unchanged."""
    try:
        yield
    except OSError as error:
        unnamed = error.filename is None or (temporary is not None and str(error.filename) == str(temporary))
        if error.errno is None or not unnamed:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
