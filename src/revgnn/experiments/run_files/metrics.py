"""metrics.jsonl, read again and again while a run appends to it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, BinaryIO

_LAST_EPOCH = 1 << 53
"""Beyond it floats have gaps."""


_LARGEST = 1e100


class MetricsFile:
    """The epochs in a metrics.jsonl. `read` takes only what was appended since the last call.

    A last line without its end is left for the next call. Lines that are no epoch are skipped. If the file has become shorter or
    was replaced, as happens when a run is resumed or overwritten, it is read from its beginning.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: dict[int, dict[str, Any]] = {}
        self._offset = 0
        self._inode: int | None = None

    def read(self) -> list[dict[str, Any]]:
        """Return the epochs so far in their order; of an epoch that stands twice the last line."""
        try:
            with open(self.path, "rb") as file:
                self._read_new(file)
        except OSError:  # not written yet, or removed
            self._lines, self._offset, self._inode = {}, 0, None
        return [self._lines[epoch] for epoch in sorted(self._lines)]

    def _read_new(self, file: BinaryIO) -> None:
        status = os.fstat(file.fileno())
        if status.st_ino != self._inode or status.st_size < self._offset:
            self._lines, self._offset, self._inode = {}, 0, status.st_ino
        file.seek(self._offset)
        content = file.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            epoch = read_epoch(line)
            if epoch is not None:
                self._lines[epoch["epoch"]] = epoch


def read_epoch(line: bytes) -> dict[str, Any] | None:
    """Return one line of metrics.jsonl, with None for numbers that are not finite; None if it is no epoch."""
    try:
        values = json.loads(line, parse_constant=lambda name: None)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or type(values.get("epoch")) is not int:
        return None
    return values if 0 < values["epoch"] <= _LAST_EPOCH else None


def number(line: dict[str, Any], name: str) -> float | None:
    """Return a number of a line; None if the line has none by that name, or one so large that sums of it may overflow."""
    value = line.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return value if abs(value) < _LARGEST else None


def column(lines: list[dict[str, Any]], name: str) -> tuple[list[float], list[float]]:
    """Return the epochs that have a number by that name, and the numbers."""
    pairs = [(line["epoch"], value) for line in lines if (value := number(line, name)) is not None]
    return [epoch for epoch, _ in pairs], [value for _, value in pairs]
