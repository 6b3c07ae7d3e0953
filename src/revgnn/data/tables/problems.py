"""Rows that cannot be used: the first is an error, or all are dropped and counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np


class Problems:
    """The bad rows of one table.

    Args:
        path: the table, for messages.
        num_rows: N, its rows.
        drop: drop bad rows, instead of raising.

    Attributes:
        keep: bool (N,): rows without a problem so far.
        dropped: number of dropped rows by reason.
    """

    def __init__(self, path: Path, num_rows: int, *, drop: bool) -> None:
        self.path = path
        self.keep = np.ones(num_rows, bool)
        self.dropped: dict[str, int] = {}
        self._drop = drop

    def add(self, bad: np.ndarray, reason: str, message: Callable[[int], str], remedy: str = "mend it") -> None:
        """Record bad rows.

        Args:
            bad: bool (N,).
            reason: of the count of dropped rows.
            message: what is wrong with the row at a position.
            remedy: what to do, besides dropping such rows.

        Raises:
            ValueError: unless bad rows are dropped; names the first row, counted from 1 without the header.
        """
        bad = bad & self.keep
        count = int(bad.sum())
        if not count:
            return
        if not self._drop:
            row = int(bad.argmax())
            more = f" ({count:,} such rows)" if count > 1 else ""
            raise ValueError(f"{self.path}, row {row + 1}: {message(row)}{more}; {remedy}, or drop such rows: --on-bad-rows drop.")
        self.keep &= ~bad
        self.count(reason, count)

    @property
    def refuses(self) -> bool:
        """Whether a bad row is an error."""
        return not self._drop

    def count(self, reason: str, rows: int) -> None:
        """Record rows that are gone already."""
        if rows:
            self.dropped[reason] = self.dropped.get(reason, 0) + rows
