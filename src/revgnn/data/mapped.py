"""Arrays in `.npy` files, mapped into memory: pages are read when they are used, however large the file is."""

from __future__ import annotations

import math
import mmap
import os
import sys
from pathlib import Path

import numpy as np

_NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)
"""The flag of this name, which Python has from 3.13 on."""


def map_array(path: Path) -> np.ndarray:
    """Return the array in a `.npy` file, copy-on-write: a caller may write to it, and the file does not change.

    `numpy.load(..., mmap_mode="c")` does the same but reserves memory for a copy of every page. Linux refuses that for a file
    larger than all memory.

    Raises:
        ValueError: if the file is not a `.npy` file, is shorter than its header says, holds Python objects, or is
            not in C order or this machine's byte order.
        OSError: if it cannot be read.
    """
    with open(path, "rb") as file:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{path.name} has version {version} of the format, not 1.0 or 2.0")
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        try:
            shape, fortran_order, dtype = read_header(file)
        except Exception as error:  # NumPy evaluates the header as a literal: a damaged one can cause any
            raise ValueError(f"the header of {path.name} is damaged: {error}") from None
        if fortran_order or dtype.hasobject or not dtype.isnative:
            raise ValueError(
                f"{path.name} must hold plain numbers in C order and in this machine's byte order, got {dtype}, "
                f"Fortran order: {fortran_order}; save numpy.ascontiguousarray(array) as numbers."
            )
        if any(size < 0 for size in shape):
            raise ValueError(f"the header of {path.name} is damaged: shape {shape}")
        count = math.prod(shape)
        # Reading a mapped page beyond the end of the file would end the process.
        wanted, there = count * dtype.itemsize, os.fstat(file.fileno()).st_size - file.tell()
        if there < wanted:
            raise ValueError(f"{path.name} is truncated: {there} of {wanted} bytes")
        if count == 0:  # an empty file cannot be mapped
            return np.empty(shape, dtype)
        offset = file.tell()
        return np.frombuffer(_map(file.fileno()), dtype, count, offset).reshape(shape)


def _map(handle: int) -> mmap.mmap:
    if sys.platform == "win32":
        return mmap.mmap(handle, 0, access=mmap.ACCESS_COPY)
    return mmap.mmap(handle, 0, flags=mmap.MAP_PRIVATE | _NO_RESERVE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
