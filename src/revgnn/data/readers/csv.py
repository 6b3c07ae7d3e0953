"""Numbers in gzipped csv files without a header, the raw form of OGB."""

from __future__ import annotations

import gzip
import logging
import warnings
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

_log = logging.getLogger("revgnn.data")

_CHUNK_ROWS = 1 << 20


def read_csv(path: Path, dtype: type[np.generic], rows: int = 0) -> np.ndarray:
    """Return a csv.gz file as a matrix of `dtype`. Empty cells become NaN if `dtype` is a float.

    pandas, which the `ogb` extra installs, reads several times faster than NumPy; both give the same numbers. With pandas the file
    is read a million rows at a time.

    Args:
        path: the file.
        dtype: of the matrix.
        rows: expected number of rows. If it is right, reading needs no more memory than the matrix.

    Raises:
        ValueError: if the file is missing or damaged, or holds anything other than numbers of this dtype.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}.")
    if not path.stat().st_size:  # gzip reads it as a file without rows, whose compressed form has 20 bytes or more
        raise ValueError(f"{path} is empty: it has no bytes at all; copy or download it again.")
    try:
        return _read(path, dtype, rows)
    except (OSError, EOFError, ValueError, OverflowError, zlib.error) as error:  # gzip's errors are among them
        raise ValueError(
            f"{path} cannot be read as a csv of {np.dtype(dtype).name}: {' '.join(str(error).split())[:300]}"
        ) from None


def _read(path: Path, dtype: type[np.generic], rows: int) -> np.ndarray:
    try:
        import pandas as pd
    except ImportError:
        if path.stat().st_size > 50_000_000:
            _log.warning("reading %s without pandas takes minutes; `pip install pandas` makes it several times faster", path)
        with gzip.open(path, "rt") as file, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "loadtxt: input contained no data")
            return np.loadtxt(file, delimiter=",", ndmin=2, dtype=dtype, converters=_nan_if_empty(dtype))
    try:
        with pd.read_csv(path, compression="gzip", header=None, dtype=dtype, chunksize=_CHUNK_ROWS) as chunks:
            return _concatenate((chunk.to_numpy() for chunk in chunks), rows)
    except pd.errors.EmptyDataError:
        return np.empty((0, 0), dtype)


def _concatenate(chunks: Iterable[np.ndarray], rows: int) -> np.ndarray:
    """Concatenate the chunks; no copy of the whole is needed if there are at most `rows` rows."""
    out, filled = np.empty((0, 0)), 0
    for chunk in chunks:
        needed = filled + len(chunk)
        if needed > len(out):
            larger = np.empty((max(needed, 2 * len(out) if filled else rows), chunk.shape[1]), chunk.dtype)
            if filled:
                larger[:filled] = out[:filled]
            out = larger
        out[filled:needed] = chunk
        filled = needed
    return out[:filled]


def _nan_if_empty(dtype: type[np.generic]) -> Callable[[str], float] | None:
    return (lambda text: float(text) if text.strip() else float("nan")) if np.issubdtype(dtype, np.floating) else None
