"""Writing files and folders in one step: first under a temporary name beside the target, then renamed.

A reader finds the old content or the new one, never a part of it.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name to write to; at the end of the block that file replaces `path`.

    If the block raises, the temporary file is deleted and `path` stays as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.touch()
    # The mode that the user's umask gives; safetensors would create a file that only the owner can read.
    mode = temporary.stat().st_mode
    try:
        yield temporary
        # The content reaches the disk before the name does, so that a power cut leaves one whole file.
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(mode)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty temporary folder to fill; at the end of the block it replaces `folder`.

    If the block raises, the temporary folder is deleted and `folder` stays as it was.
    """
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
