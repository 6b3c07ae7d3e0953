"""Read the pickles of Planetoid without running code from them.

The files of Cora, CiteSeer and PubMed are pickles. A pickle can name any function of the interpreter and call it. This reader
allows the few names that those files use and refuses all others. It replaces the classes of NumPy and SciPy, which do not check
the state they are given, by plain ones; arrays and sparse matrices are made from them, and checked, afterwards.
"""

from __future__ import annotations

import functools
import pickle
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse


class _Dtype:
    """Replaces numpy.dtype."""

    def __init__(self, name: str, *_: object) -> None:
        self.dtype = np.dtype(name)
        if self.dtype.kind not in "biuf":
            raise pickle.UnpicklingError(f"an array of {name!r} is not an array of numbers")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Replaces numpy.ndarray."""

    values: np.ndarray

    def __setstate__(self, state: tuple[int, tuple[int, ...], _Dtype, bool, bytes | str]) -> None:
        _, shape, dtype, fortran, data = state
        # Python 2 wrote bytes as str. Decoded as latin1, every byte is kept.
        values = np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, dtype.dtype)
        self.values = values.reshape(shape, order="F" if fortran else "C")


class _SparseMatrix:
    """Replaces scipy.sparse.csr_matrix; unpickling sets its fields."""


def _new_array(*_: object) -> _Array:
    """Replace numpy's `_reconstruct`; shape, dtype and bytes follow in the pickle."""
    return _Array()


def _encode(text: str, _: str) -> bytes:
    """Replace codecs.encode, by which Python 3 writes bytes for Python 2."""
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("scipy.sparse.csr", "csr_matrix"): _SparseMatrix,
    ("scipy.sparse._csr", "csr_matrix"): _SparseMatrix,
    ("numpy.core.multiarray", "_reconstruct"): _new_array,
    ("numpy._core.multiarray", "_reconstruct"): _new_array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
    ("collections", "defaultdict"): defaultdict,
    ("__builtin__", "list"): list,
    ("builtins", "list"): list,
}


class _RestrictedUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        try:
            allowed = _ALLOWED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module_name}.{global_name}, which is not allowed in a data file") from None
        # A pickle can set attributes on what it names. It gets something of its own, so that this module stays as it is.
        if allowed in (_Dtype, _Array, _SparseMatrix):
            return type(allowed.__name__, (allowed,), {})
        return functools.partial(allowed) if allowed in (_new_array, _encode) else allowed


def read_pickle(path: Path) -> Any:
    """Return the object in a Planetoid file: an array, a CSR matrix or a dict of lists.

    Raises:
        ValueError: if the file is missing, damaged, or holds anything else.
    """
    if not path.is_file():
        raise ValueError(f"there is no file {path}.")
    try:
        with open(path, "rb") as file:
            stored = _RestrictedUnpickler(file, encoding="latin1").load()
        if isinstance(stored, _SparseMatrix):
            return _to_csr(vars(stored))
        return stored.values if isinstance(stored, _Array) else stored
    except Exception as error:  # a damaged pickle can cause any
        raise ValueError(f"{path} cannot be read as a Planetoid file: {error}") from None


def _to_csr(fields: dict[str, Any]) -> scipy.sparse.csr_matrix:
    data, indices, indptr = (fields[name].values for name in ("data", "indices", "indptr"))
    matrix = scipy.sparse.csr_matrix((data, indices, indptr), shape=fields["_shape"] if "_shape" in fields else fields["shape"])
    matrix.check_format(full_check=True)
    return matrix
