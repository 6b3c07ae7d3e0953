"""Named arrays in `.npz` files, read without unpickling."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def open_npz(path: Path) -> np.lib.npyio.NpzFile:
    """Open an npz file for reading.

    Raises:
        ValueError: if the file is missing or is not an npz file.
    """
    try:
        archive = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}.") from None
    # How the file is damaged decides which of these comes: errors of zipfile and zlib, OSError, ValueError, EOFError.
    except Exception as error:
        raise ValueError(f"{path} cannot be read as an npz file: {error}") from None
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise ValueError(f"{path} holds a single array; an npz file with named arrays is required.")
    return archive


def read_array(archive: np.lib.npyio.NpzFile, key: str, path: Path) -> np.ndarray:
    """Return one array of the npz file at `path`.

    Raises:
        ValueError: if the array is missing, is damaged, or holds pickled objects.
    """
    if key not in archive:
        raise ValueError(f"{path} has no array {key!r}; it holds {', '.join(archive.files) or 'nothing'}.")
    try:
        return archive[key]
    except Exception as error:
        hint = "; objects are never unpickled: save numbers or strings instead" if "pickle" in str(error) else ""
        raise ValueError(f"array {key!r} of {path} cannot be read: {error}{hint}") from None
