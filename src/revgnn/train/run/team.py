"""The processes that train one run together, as training sees them.

Training knows that it may be one of several processes, and nothing of how they exchange data. `Team` is a team of one process,
which needs no exchange. `revgnn.distributed` has teams of many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

from torch import Tensor, nn

T = TypeVar("T")


class Team:
    """A team of one process.

    All processes of a team call the same methods in the same order.

    Attributes:
        rank: number of this process, from 0. Process 0 leads: it alone writes files and is told of events.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes the files of the run."""
        return self.rank == 0

    def own(self, count: int) -> range:
        """Return which of `count` pieces of work are this process's. They go round: piece i to process i modulo `size`."""
        return range(self.rank, count, self.size)

    def ask_leader(self, work: Callable[[], T]) -> T:
        """Return what `work` returns in the leading process, which alone runs it; a value that JSON can hold.

        An error of the leading process is raised there, and ends the other processes.
        """
        return work()

    def leader_first(self, work: Callable[[], T]) -> T:
        """Run `work` in the leading process, then in the others, which find the caches that it has written."""
        return work()

    @contextmanager
    def held_by_leader(self, context: Callable[[], AbstractContextManager[Any]]) -> Iterator[None]:
        """Hold a context in the leading process for all."""
        with context():
            yield

    def share_state(self, tensors: dict[str, Tensor], note: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return the tensors by name, and the values that JSON can hold, of the leading process."""
        return tensors, note

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all processes by rank; values that JSON can hold."""
        return [value]

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of the tensors of all processes."""
        return tensor

    def check_same(self, model: nn.Module) -> None:
        """Raise `RuntimeError` if the processes do not hold the same weights and buffers, to the last bit."""

    def exchange(self, model: nn.Module) -> GradientExchange:
        """Return what sums the gradients of the model over the processes."""
        return GradientExchange()


class GradientExchange:
    """Sums gradients over the processes of a team: this one of a single process, which has nothing to do."""

    @contextmanager
    def during_backward(self) -> Iterator[None]:
        """Exchange gradients as they become ready inside: in the last backward pass of this process in a step."""
        yield

    def finish(self, values: Tensor) -> Tensor:
        """Finish the sums, so that each `grad` is the sum over the processes, and return the sum of `values`, float32 (M,)."""
        return values


ALONE = Team()
"""One process trains the run."""
