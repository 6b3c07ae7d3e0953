"""Named arrays in `.npz` files, read without unpickling."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from revgnn.data.numbers import to_native
from revgnn.data.readers.file_kind import describe_file


def open_npz(path: Path) -> np.lib.npyio.NpzFile:
    """Open an npz file for reading.

    Raises:
        ValueError: if the file is missing, is not an npz file, or holds two arrays of one name.
    """
    try:
        archive = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}.") from None
    # How the file is damaged decides which of these comes: errors of zipfile and zlib, OSError, ValueError, EOFError.
    except Exception as error:
        # NumPy takes any unknown file for a pickle and says how to load one.
        reason = "" if "pickle" in str(error) else f" ({' '.join(str(error).split())[:200]})"
        raise ValueError(f"{path} cannot be read as an npz file{reason}: {describe_file(path)}") from None
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise ValueError(f"{path} holds a single array; an npz file with named arrays is required.")
    if (promised := _promised_members(path, archive)) is not None and promised != len(archive.files):
        archive.close()
        raise ValueError(
            f"{path} is damaged: it should hold {promised} arrays, but its directory names {len(archive.files)}; copy it anew."
        )
    twice = sorted({key for key in archive.files if archive.files.count(key) > 1})
    if twice:
        archive.close()
        raise ValueError(f"{path} holds more than one array named {', '.join(map(repr, twice))}; save the file anew.")
    return archive


def _promised_members(path: Path, archive: np.lib.npyio.NpzFile) -> int | None:
    """Return the number of members in the record that ends a zip file, or None where it does not say.

    zipfile reads the directory by its length alone: a damaged entry may hide the one that follows it.
    """
    assert archive.zip is not None
    length = 22 + len(archive.zip.comment)
    with open(path, "rb") as file:
        if file.seek(0, 2) < length:
            return None
        file.seek(-length, 2)
        record = file.read(12)
    count = int.from_bytes(record[10:12], "little")
    return count if record.startswith(b"PK\x05\x06") and count < 0xFFFF else None  # larger numbers stand in another record


def read_array(archive: np.lib.npyio.NpzFile, key: str, path: Path) -> np.ndarray:
    """Return one array of the npz file at `path`, in this machine's byte order and in C order.

    Raises:
        ValueError: if the array is missing, is damaged, or holds pickled objects.
    """
    if key not in archive:
        raise ValueError(f"{path} has no array {key!r}; it holds {', '.join(archive.files) or 'nothing'}.")
    try:
        array = archive[key]
    except Exception as error:
        hint = "; objects are never unpickled: save numbers or strings instead" if "pickle" in str(error) else ""
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"array {key!r} of {path} cannot be read: {reason}{hint}") from None
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{key!r} in {path} is not an array; save the file with numpy.savez.")
    return to_native(array)


def array_names(path: Path) -> frozenset[str]:
    """Return the names of the arrays in an npz file, from its directory alone; none if it is not an npz file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return frozenset(name.removesuffix(".npy") for name in archive.namelist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError):
        return frozenset()
