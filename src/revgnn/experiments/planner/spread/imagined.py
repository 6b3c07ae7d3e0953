"""One process of several that are not there: collective operations return at once, with tensors of the right shapes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn

from revgnn.distributed import Ranks
from revgnn.distributed.faults import Watch
from revgnn.distributed.halo import Halo


class _Counter(Watch):
    """Counts exchanges, and tells nobody."""

    def __init__(self) -> None:
        self.begun = 0

    def begin(self) -> None:
        self.begun += 1


class ImaginedRanks(Ranks):
    """One process of so many, by default the first.

    Attributes:
        exchanges: begun so far.
    """

    def __init__(self, size: int, rank: int = 0) -> None:
        self._counter = _Counter()
        super().__init__(rank, size, self._counter)

    @property
    def exchanges(self) -> int:
        return self._counter.begun

    def gather(self, value: Any) -> list[Any]:
        return [value] * self.size

    def check_same(self, model: nn.Module) -> None:
        """Compare nothing."""


class CountingHalo(Halo):
    """A halo that knows what it sends forth and back.

    Attributes:
        bytes_forth, bytes_back: rows sent to those who fetch them, and gradients returned to their owners.
    """

    bytes_forth: int = 0
    bytes_back: int = 0

    def fetch(self, rows: Tensor) -> Tensor:
        before = self.bytes_sent
        out = super().fetch(rows)
        self.bytes_forth += self.bytes_sent - before
        return out

    def give_back(self, grad: Tensor) -> Tensor:
        before = self.bytes_sent
        out = super().give_back(grad)
        self.bytes_back += self.bytes_sent - before
        return out


@contextmanager
def imagined_ranks(size: int, rank: int = 0) -> Iterator[ImaginedRanks]:
    """Yield one process of so many. Inside, `torch.distributed` has a process group that exchanges nothing.

    Raises:
        ValueError: if this process is one of a job already.
    """
    if dist.is_initialized():
        raise ValueError("this process is one of a job of several; plan in a process of its own.")
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", rank=rank, world_size=size, store=FakeStore())
    try:
        yield ImaginedRanks(size, rank)
    finally:
        dist.destroy_process_group()
