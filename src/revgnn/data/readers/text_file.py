"""Files of text, plain or packed by gzip: open them, and refuse those that are too large or damaged."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

from revgnn.data.readers.file_kind import describe_file

MAX_TEXT_BYTES = 1 << 30
"""A larger file of a format that is parsed into Python objects is refused: these need about 50 times as much memory."""

_FREE_BYTES, _MOST_SHRUNK = 16 << 20, 200
"""Text shrinks to a tenth or a thirtieth by gzip. A packed file may unpack to more than this only if it is small."""


def open_text(path: Path | str) -> Any:
    """Open a file for reading bytes, unpacked if its name ends in .gz."""
    return gzip.open(path, "rb") if str(path).casefold().endswith(".gz") else open(path, "rb")


def unreadable(path: Path, what: str, error: Exception) -> ValueError:
    """Return the error for a file that a library could not read."""
    reason = " ".join(str(error).split())[:200] or "the file ends too early"
    return ValueError(f"{path} cannot be read as {what} ({type(error).__name__}: {reason}): {describe_file(path)}")


def size_limit(path: Path, limit: int = MAX_TEXT_BYTES) -> int:
    """Return how many bytes of text may be read from a file: at most `limit`, and of a packed file as much as text shrinks."""
    is_packed = path.name.casefold().endswith(".gz")
    return min(limit, _FREE_BYTES + _MOST_SHRUNK * path.stat().st_size) if is_packed else limit


def check_size(path: Path, limit: int = MAX_TEXT_BYTES) -> None:
    """Raise `ValueError` if a file, unpacked if its name ends in .gz, is missing or larger than `limit` bytes."""
    try:
        size = path.stat().st_size
        if path.name.casefold().endswith(".gz"):
            size, limit = 0, size_limit(path, limit)
            with gzip.open(path, "rb") as file:
                while size <= limit and (block := file.read(1 << 20)):
                    size += len(block)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}.") from None
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} cannot be unpacked: {error}; {describe_file(path)}") from None
    if size > limit:
        raise ValueError(
            f"{path} holds more than {limit >> 20:,} MB of text; save a graph of this size as tables (docs/own-data.md) or as .npz."
        )
