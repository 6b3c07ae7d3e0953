"""Conversion of arrays from files into the layout and dtype that tensors and kernels expect."""

from __future__ import annotations

import numpy as np


def to_native(array: np.ndarray) -> np.ndarray:
    """Return the array in this machine's byte order and in C order; a copy only if it is stored otherwise."""
    return array.astype(array.dtype.newbyteorder("="), order="C", copy=False)


def to_float32(array: np.ndarray, name: str) -> np.ndarray:
    """Return numbers as float32; a copy only if they are stored otherwise.

    Raises:
        ValueError: if the array does not hold numbers, or if a finite entry is too large for float32 (names the first one).
    """
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be numbers, got {array.dtype}.")
    with np.errstate(over="ignore"):  # the check below names the entry
        out = array.astype(np.float32, order="C", copy=False)
    # Smaller types cannot overflow. The sum is finite if all entries are, unless it overflows itself: then check each.
    if array.dtype.itemsize > 4 and not np.isfinite(out.sum(dtype=np.float64)):
        bad = np.argwhere(np.isfinite(array) & ~np.isfinite(out))
        if len(bad):
            position = tuple(bad[0].tolist())
            raise ValueError(
                f"{name}{list(position)} is {array[position]:.6g}, which is too large for float32 (at most 3.4e38); "
                "rescale the column."
            )
    return out
