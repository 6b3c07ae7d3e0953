"""Unpack archives of published data sets. Nothing in them is run, and nothing leaves the folder it is unpacked to."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from revgnn.files import replacing

_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError)
"""What zipfile raises for archives that cannot be unpacked."""


def check_free(folder: Path) -> None:
    """Raise `ValueError` if there is something in a folder that a set is to be unpacked to."""
    if folder.is_dir() and any(folder.iterdir()):
        raise ValueError(f"{folder} exists, but does not hold the whole data set; move it away to unpack the set again.")


def unpack_folder(archive: Path, inner: str, folder: Path, *, source: str, max_bytes: int) -> None:
    """Put the folder `inner` of a zip archive at `folder`, in one step.

    Args:
        source: of the archive, for messages.
        max_bytes: the largest size that is unpacked.

    Raises:
        ValueError: if there is such a folder already, or the archive is damaged, too large, or has no folder `inner`.
        OSError: if the folder cannot be written.
    """
    check_free(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        with _opened(archive, source, max_bytes) as file:
            file.extractall(scratch)  # removes absolute paths and `..`
        if not (Path(scratch) / inner).is_dir():
            raise ValueError(f"{source} has no folder {inner}.")
        os.replace(Path(scratch) / inner, folder)


def unpack_files(archive: Path, names: Collection[str], folder: Path, *, max_bytes: int) -> None:
    """Put files of an archive, whatever folder they are in there, into `folder`.

    Args:
        archive: a zip archive, a folder, or the file itself if there is only one.
        names: of the files.

    Raises:
        ValueError: if the archive is damaged or too large, or if a file is missing.
        OSError: if it cannot be read, or the files cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if archive.is_dir():
        for name in names:
            found = sorted(archive.rglob(name), key=lambda path: len(path.parts))
            if not found:
                raise _missing(archive, name)
            _copy(found[0], folder / name)
    elif len(names) == 1 and archive.suffix.casefold() != ".zip":
        _copy(archive, folder / next(iter(names)))
    else:
        with _opened(archive, str(archive), max_bytes) as file:
            for name in names:
                member = min((m for m in file.infolist() if PurePosixPath(m.filename).name == name), key=_depth, default=None)
                if member is None:
                    raise _missing(archive, name)
                with replacing(folder / name) as temporary, file.open(member) as inside, open(temporary, "wb") as outside:
                    shutil.copyfileobj(inside, outside)


def _copy(source: Path, target: Path) -> None:
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)


def _depth(member: zipfile.ZipInfo) -> int:
    return len(PurePosixPath(member.filename).parts)


class _MissingFile(ValueError):
    """An archive that can be read has no file of a name."""


def _missing(archive: Path, name: str) -> _MissingFile:
    return _MissingFile(f"{archive} has no file {name}; give a zip archive or a folder with all files of the set.")


@contextmanager
def _opened(archive: Path, source: str, max_bytes: int) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive that unpacks to at most `max_bytes`."""
    try:
        with zipfile.ZipFile(archive) as file:
            size = sum(member.file_size for member in file.infolist())
            if size > max_bytes:
                raise ValueError(f"it would unpack to {size:,} bytes, more than {max_bytes:,}")
            yield file
    except _MissingFile:
        raise
    except _DAMAGED as error:
        raise ValueError(f"{source} is not a zip archive that can be unpacked: {error}.") from None
