"""What a compiled kernel depends on: the sources of the functions that it may inline."""

from __future__ import annotations

import functools
import hashlib
import re
import sys
from pathlib import Path

_IMPORT = re.compile(r"^(?:from\s+([\w.]+)\s+import\s+(\([^)]*\)|.*)|import\s+([\w.]+))", re.MULTILINE)


@functools.cache
def fingerprint(module: str) -> str:
    """Return a digest of the sources of a module and of all modules of ours that it imports, directly or through others.

    It becomes part of a kernel's key in numba's cache on disk. numba itself notices only changes of the file that the kernel stands
    in, not of the files that functions and constants are taken from.
    """
    digest = hashlib.blake2b(digest_size=8)
    for name in sorted(modules_behind(module)):
        digest.update(_source(name).encode())
    return digest.hexdigest()


def modules_behind(module: str) -> set[str]:
    """Return the names of a module and of all loaded modules of its package, or of this one, that its import statements lead to."""
    packages = {module.partition(".")[0], __name__.partition(".")[0]}
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or name.partition(".")[0] not in packages or name not in sys.modules:
            continue
        found.add(name)
        for origin, names, plain in _IMPORT.findall(_source(name)):
            # what is imported may itself be a module
            waiting += [plain or origin, *(f"{origin}.{each}" for each in re.findall(r"\w+", names))]
    return found


@functools.cache
def _source(module: str) -> str:
    return Path(sys.modules[module].__file__ or "").read_text(encoding="utf-8")
