"""The parts of a step that are on their way through the stages of a process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from revgnn.train.batches import Batch
from revgnn.train.run.session import Share


@dataclass
class PartOnItsWay:
    """A part of a step."""

    number: int
    """In the epoch."""
    batch: Batch
    share: Share
    has_labels: bool = False
    """Whether labels are shown as inputs already, if the run has them as inputs."""


class PartsOnTheirWay:
    """The parts of a step. Each is cut when the first stage of this process needs it, and dropped when the last has run it forward.

    Args:
        pieces: part, batch and share, in order.
        uses: stages of this process.
    """

    def __init__(self, pieces: Iterator[tuple[int, Batch, Share]], uses: int) -> None:
        self._pieces, self._uses = pieces, uses
        self._parts: dict[int, PartOnItsWay] = {}
        self._left: dict[int, int] = {}
        self._rows: list[int] = []

    def rows(self, n: int) -> int:
        """Return the number of nodes of part `n` of the step."""
        while len(self._rows) <= n:
            part, batch, share = next(self._pieces)
            self._parts[len(self._rows)] = PartOnItsWay(part, batch, share)
            self._left[len(self._rows)] = self._uses
            self._rows.append(batch.graph.num_nodes)
        return self._rows[n]

    def use(self, n: int) -> PartOnItsWay:
        """Return part `n` of the step. It is dropped when all stages have used it."""
        self.rows(n)
        self._left[n] -= 1
        return self._parts[n] if self._left[n] else self._parts.pop(n)
