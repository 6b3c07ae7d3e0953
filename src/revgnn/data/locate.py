"""Where a data set lies below a root, whichever of the usual folder layouts it is in; and reading arrays from there."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

ROOT_VARIABLE = "REVGNN_DATA"


def default_root() -> Path:
    """`$REVGNN_DATA`, or `data` in the working directory."""
    return Path(os.environ.get(ROOT_VARIABLE) or "data")


def find_folder(root: Path, names: Collection[str], marker: str, *, any_name_at_root: bool) -> Path | None:
    """The folder that holds `marker`: `root` itself, or one up to two levels below it that has one of `names`.

    Letter case does not matter in names, nor does `-` instead of `_`. `any_name_at_root`: `marker` alone tells the data set,
    so that `root` may be called anything.
    """
    wanted = {_plain(name) for name in names}
    if (root / marker).is_file() and (any_name_at_root or _plain(root.resolve().name) in wanted):
        return root
    level = [root]
    for _ in range(2):
        level = [child for parent in level for child in _subfolders(parent)]
        for folder in level:
            if _plain(folder.name) in wanted and (folder / marker).is_file():
                return folder
    return None


def open_npz(path: Path) -> np.lib.npyio.NpzFile:
    """An npz file for reading, never unpickling.

    Raises:
        ValueError: if it is missing, or no npz file.
    """
    try:
        archive = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}.") from None
    except Exception as error:  # zipfile, zlib, OSError, ValueError and EOFError, by the way in which the file is damaged
        raise ValueError(f"{path} cannot be read as an npz file: {error}") from None
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise ValueError(f"{path} holds a single array; an npz file of named arrays is wanted.")
    return archive


def read_array(archive: np.lib.npyio.NpzFile, key: str, path: Path) -> np.ndarray:
    """One array of an npz file.

    Raises:
        ValueError: if it is not there, is damaged, or holds pickled objects.
    """
    if key not in archive:
        raise ValueError(f"{path} has no array {key!r}; it holds {', '.join(archive.files) or 'nothing'}.")
    try:
        return archive[key]
    except Exception as error:
        hint = "; objects are never unpickled: save numbers or strings instead" if "pickle" in str(error) else ""
        raise ValueError(f"array {key!r} of {path} cannot be read: {error}{hint}") from None


def _plain(name: str) -> str:
    return name.casefold().replace("-", "_")


def _subfolders(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    except OSError:  # no folder, or one that may not be read
        return
