"""The runs below some folders: single runs, sweeps, searches, tables of the paper, or folders with any of these."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from revgnn.experiments.run_files.reading import RunOnDisk, RunReader
from revgnn.train.config.errors import ConfigError

_DEEPEST = 6
"""Folders below a given one in which runs are looked for."""

_SEARCH = "tune.json"
_COPY_OF_BEST = "best"
"""Folder of a search with a copy of its best run, which is not a run of its own."""


@dataclass(frozen=True)
class _Found:
    path: Path
    name: str | None = None
    metric: str | None = None
    problem: str | None = None


class RunsReader:
    """Reads all runs below some folders, again and again. Runs that begin later are found too.

    Args:
        folders: of runs, sweeps (`train --seeds`), searches (`tune`), or folders that hold any of these.

    Raises:
        ConfigError: if one of them does not exist or is a file.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        for folder in folders:
            if not folder.is_dir():
                what = "is a file" if folder.exists() else "does not exist"
                raise ConfigError(f"{folder} {what}; give the folder of a run, of a sweep or of a search, or one that holds runs.")
        self.folders = [Path(os.path.abspath(folder)) for folder in folders]
        self._readers: dict[Path, RunReader] = {}

    def read(self) -> list[RunOnDisk]:
        """Return all runs as they are now, by folder, numbers in their order."""
        found: dict[Path, _Found] = {}
        for folder in self.folders:
            for run in _runs_below(folder, _DEEPEST):
                found.setdefault(run.path, run)
        runs = []
        for (path, run), name in zip(found.items(), unique_names(self.folders, list(found.values())), strict=True):
            reader = self._readers.setdefault(path, RunReader(path, name))
            reader.name, reader.metric, reader.problem = name, run.metric, run.problem
            runs.append(reader.read())
        # What a run is scored by is known when it ends; others on the same data know it before.
        metrics = {run.data: run.metric for run in runs if run.metric is not None}
        return [replace(run, metric=metrics.get(run.data)) if run.metric is None else run for run in runs]


def read_runs(folders: Sequence[Path]) -> list[RunOnDisk]:
    """Return all runs below some folders.

    Raises:
        ConfigError: if there is none, or a folder does not exist.
    """
    runs = RunsReader(folders).read()
    if not runs:
        raise ConfigError(f"{', '.join(map(str, folders))}: no run here (a folder with config.yaml, the --out of revgnn train).")
    return runs


def unique_names(folders: Sequence[Path], found: Sequence[_Found]) -> list[str]:
    """Return what runs are called: a candidate of a search by what it changes, others by the path below what they share."""
    paths = [run.path for run in found]
    if not paths:
        return []
    shared = Path(os.path.commonpath([path.parent for path in paths]))
    names = [
        run.name if run.name is not None else path.relative_to(shared).as_posix() for run, path in zip(found, paths, strict=True)
    ]
    return [
        name if names.count(name) == 1 else f"{path.relative_to(shared).as_posix()}: {name}"
        for name, path in zip(names, paths, strict=True)
    ]


def _runs_below(folder: Path, deepest: int) -> Iterator[_Found]:
    """Yield the runs of a folder: itself, those of a search, or those below it. Links to folders are not followed."""
    if (folder / "config.yaml").is_file():
        yield _Found(folder)
        return
    search = _read_search(folder)
    if search is not None:
        yield from search
        return
    if deepest == 0:
        return
    try:
        below = [Path(entry.path) for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for path in sorted(below, key=_in_order):
        if not path.name.startswith("."):
            yield from _runs_below(path, deepest - 1)


def _read_search(folder: Path) -> list[_Found] | None:
    """Return the candidates of a search; None if the folder holds no search that can be read."""
    try:
        values: dict[str, Any] = json.loads((folder / _SEARCH).read_text(encoding="utf-8"))
        metric = values["metric"] or None
        found = []
        for trial in values["trials"]:
            path = Path(os.path.abspath(folder / trial["folder"]))
            if path.is_relative_to(folder) and path.name != _COPY_OF_BEST:
                found.append(_Found(path, str(trial["name"]), metric, trial.get("error")))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return found


def _in_order(path: Path) -> list[tuple[int, int, str]]:
    """Return what sorts names with their numbers as numbers: depth-7 before depth-28."""
    return [(0, int(word), "") if word.isdecimal() else (1, 0, word) for word in re.split(r"(\d+)", path.name)]
