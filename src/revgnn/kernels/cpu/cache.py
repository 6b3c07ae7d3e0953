"""The cache of compiled functions on disk: numba's, with a key that knows every source. It survives damage and a missing folder."""

from __future__ import annotations

import contextlib
import functools
import tempfile
import warnings
from collections.abc import Callable
from typing import Any

from numba import config, njit
from numba.core.caching import FunctionCache

from revgnn.kernels.cpu.sources import fingerprint


class KernelCache(FunctionCache):
    """numba's cache of one function.

    Its key also changes with every source that the function may inline. A damaged cache is rebuilt. Where no folder can be written,
    functions are compiled into a temporary one, with a warning.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        try:
            super().__init__(function)
        except RuntimeError:  # numba found no folder that it can write to
            config.CACHE_DIR = _temporary_folder()  # pyright: ignore[reportAttributeAccessIssue]
            super().__init__(function)
        self._sources = fingerprint(function.__module__)

    def _index_key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        return (*super()._index_key(sig, codegen), self._sources)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled function, or None if it must be compiled."""
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # a damaged file fails in any way that unpickling can fail
            warnings.warn(f"compiled kernels in {self.cache_path} are damaged ({_one_line(error)}) and are rebuilt.", stacklevel=2)
            with contextlib.suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write the compiled function, if the folder allows it."""
        try:
            super().save_overload(sig, data)
        except Exception as error:  # a full disk, a folder that has become read-only, an index damaged meanwhile
            _warn_not_kept(str(self.cache_path), _one_line(error))


def cached_njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Decorator: `numba.njit(**options)` with this cache in place of numba's own."""

    def decorate(function: Callable[..., Any]) -> Any:
        compiled: Any = njit(**options)(function)
        compiled._cache = KernelCache(function)
        return compiled

    return decorate


@functools.cache
def _temporary_folder() -> str:
    folder = tempfile.mkdtemp(prefix="revgnn-kernels-")
    warnings.warn(
        f"no folder for compiled kernels can be written, so they are compiled into {folder} for this process; set "
        "NUMBA_CACHE_DIR to a folder that can be written to keep them.",
        stacklevel=4,
    )
    return folder


@functools.cache
def _warn_not_kept(folder: str, reason: str) -> None:
    warnings.warn(
        f"compiled kernels cannot be written to {folder} ({reason}), so they are compiled again in the next process; free space "
        "there, or set NUMBA_CACHE_DIR to another folder.",
        stacklevel=4,
    )


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
