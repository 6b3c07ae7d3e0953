"""Arrays of numbers and sparse matrices in MATLAB's .mat files, version 5.

Format: "MAT-File Format", MathWorks, R2024a, chapter 1. Cells, structures, objects and text are passed over. `scipy.io.loadmat`
reads more, but some damaged files make it write outside its memory, which ends the process. Tests compare the two.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

_MATRIX, _COMPRESSED = 14, 15
_SPARSE = 5
_NUMERIC = range(6, 16)
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES = dict(zip(_NUMERIC, ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"), strict=True))
_COMPLEX = 0x0800
_HEADER_BYTES = 128
MOST_UNPACKED = 2 * 10**9
"""Bytes that one variable may have once it is unpacked."""


class Damaged(ValueError):
    """A file that is not as the format says."""


class _Variable(NamedTuple):
    name: str
    kind: int
    is_complex: bool
    shape: tuple[int, ...]
    parts: list[tuple[int, memoryview]]
    """Type and bytes of what follows the name."""


def read_mat5(path: Path, wanted: Iterable[str]) -> tuple[list[str], dict[str, Any]]:
    """Return the names of all variables, and the wanted ones: arrays, or sparse matrices in CSC form.

    Args:
        path: the file.
        wanted: names; those that the file lacks are left out.

    Raises:
        Damaged: if it is not a file of version 5, is damaged, or a wanted variable is neither numbers nor sparse.
        OSError, zlib.error: if it cannot be read or unpacked.
    """
    content = memoryview(path.read_bytes())
    if len(content) < _HEADER_BYTES:
        raise Damaged("it is shorter than a header")
    version, order = bytes(content[124:126]), bytes(content[126:128])
    if order not in (b"IM", b"MI") or version != (b"\x00\x01" if order == b"IM" else b"\x01\x00"):
        raise Damaged("it is not a MAT file of version 5; in MATLAB, save it with save(..., '-v7')")
    endian = "<" if order == b"IM" else ">"
    wanted, names, found = set(wanted), [], {}
    for kind, data in _elements(content[_HEADER_BYTES:], endian):
        if kind == _COMPRESSED:
            kind, data = next(_elements(memoryview(_unpacked(data)), endian), (0, data))
        if kind != _MATRIX:
            continue
        variable = _variable(data, endian)
        names.append(variable.name)
        if variable.name in wanted:
            found[variable.name] = _value(variable, endian)
    return names, found


def _unpacked(data: memoryview) -> bytes:
    """Return the content of a compressed variable: zlib can shrink zeros by a thousand."""
    unpacking = zlib.decompressobj()
    content = unpacking.decompress(data, MOST_UNPACKED)
    if unpacking.unconsumed_tail:
        raise Damaged(f"a variable unpacks to more than {MOST_UNPACKED / 1e9:.0f} GB; save it as an .npz file")
    if not unpacking.eof:
        raise Damaged("a compressed variable is cut short")
    return content


def _elements(data: memoryview, endian: str) -> Iterator[tuple[int, memoryview]]:
    """Yield type and bytes of each data element."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(f"{endian}II", data, at)
        start = at + 8
        if kind >> 16:  # a small element: type and size share four bytes, up to four bytes of data follow
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
            if size > 4:
                raise Damaged("a small data element is longer than 4 bytes")
            at += 8
        else:
            at = start + size + (-size % 8 if kind != _COMPRESSED else 0)
        if start + size > len(data):
            raise Damaged("a data element is longer than the file")
        yield kind, data[start : start + size]


def _variable(data: memoryview, endian: str) -> _Variable:
    # Flags, sizes and name, and at most three parts of values.
    parts = list(itertools.islice(_elements(data, endian), 6))
    if len(parts) < 3 or len(parts[0][1]) != 8 or len(parts[1][1]) % 4 or not 8 <= len(parts[1][1]) <= 128:
        raise Damaged("a variable has no flags, sizes and name")
    (flags,) = struct.unpack_from(f"{endian}I", parts[0][1])
    shape = struct.unpack(f"{endian}{len(parts[1][1]) // 4}i", parts[1][1])
    if min(shape) < 0:
        raise Damaged(f"a variable has the shape {shape}")
    return _Variable(bytes(parts[2][1]).decode("latin1"), flags & 0xFF, bool(flags & _COMPLEX), shape, parts[3:])


def _value(variable: _Variable, endian: str) -> Any:
    if variable.is_complex or (variable.kind not in _NUMERIC and variable.kind != _SPARSE):
        raise Damaged(f"{variable.name} is not an array of real numbers")
    if variable.kind == _SPARSE:
        if len(variable.parts) < 3 or len(variable.shape) != 2:
            raise Damaged(f"{variable.name} is not a whole sparse matrix")
        rows, starts, values = (_numbers(part, endian) for part in variable.parts)
        count = int(starts[-1]) if starts.size else 0
        matrix: Any = scipy.sparse.csc_matrix(
            (values[:count], rows[:count].astype(np.int64), starts.astype(np.int64)), variable.shape
        )
        matrix.check_format(full_check=True)
        return matrix
    values = _numbers(variable.parts[0], endian) if variable.parts else np.zeros(0)
    if values.size != np.prod([float(n) for n in variable.shape]):
        raise Damaged(f"{variable.name} has {values.size} numbers for the shape {variable.shape}")
    return values.astype(_CLASSES[variable.kind]).reshape(variable.shape, order="F")


def _numbers(part: tuple[int, memoryview], endian: str) -> np.ndarray:
    kind, data = part
    if kind not in _TYPES or len(data) % np.dtype(_TYPES[kind]).itemsize:
        raise Damaged(f"numbers have the unknown type {kind}, or are cut off")
    return np.frombuffer(data, endian + _TYPES[kind]).astype(_TYPES[kind])
