"""Find the folder of a data set below a root, in the folder layout of PyTorch Geometric or of OGB."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

ROOT_VARIABLE = "REVGNN_DATA"


def default_root() -> Path:
    """Return `$REVGNN_DATA`, or `data` in the working directory."""
    return Path(os.environ.get(ROOT_VARIABLE) or "data")


def find_folder(root: Path, names: Collection[str], marker: str, *, any_name_at_root: bool) -> Path | None:
    """Return the folder that holds the file `marker`: `root` itself, or a folder at most two levels below it, or None.

    Args:
        root: where to search.
        names: possible names of the folder; letter case does not matter, and `-` counts as `_`.
        marker: path of a file within the folder.
        any_name_at_root: `root` may have any name, because `marker` alone identifies the data set.
    """
    wanted = {_plain(name) for name in names}
    if (root / marker).is_file() and (any_name_at_root or _plain(root.resolve().name) in wanted):
        return root
    level = [root]
    for _ in range(2):
        level = [child for parent in level for child in _subfolders(parent)]
        for folder in level:
            if _plain(folder.name) in wanted and (folder / marker).is_file():
                return folder
    return None


def _plain(name: str) -> str:
    return name.casefold().replace("-", "_")


def _subfolders(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    except OSError:  # not a folder, or not readable
        return
