"""Random partition of a graph into parts, a new one each epoch: the paper's mini-batches on ogbn-proteins and ogbn-products."""

from __future__ import annotations

import itertools
import operator
import os
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from revgnn.data.cut import Assignment, cut_part
from revgnn.graph import Graph

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Part:
    """A part of a graph: `nodes` (int64, (M,), ascending) of the whole, and the edges between them, with `nodes[i]` as node `i`.

    The edges have their features and keep the whole graph's order within a destination: `graph` equals `whole.subgraph(nodes)`.
    """

    nodes: Tensor
    graph: Graph


class RandomPartition:
    """Random parts of a graph, different ones each epoch, determined by `(seed, epoch)` alone.

    A random permutation of the nodes, `numpy.random.default_rng([seed, epoch]).permutation(N)`, is cut into `parts` runs whose
    sizes differ by at most one node. Deviation: the authors' code draws each node's part independently, so that its parts differ
    in size by about sqrt(N / P); with equal parts all steps need the same time and memory. Edges between parts are dropped for
    the epoch.

    A part is cut when it is asked for, in one pass over the edges of its own nodes: P parts together read each edge once. In
    memory are the part in use and, while prefetching, the next one; never a copy of the whole graph or an array with a number for
    each of its edges. So the graph may be a memory-mapped file. With one part the graph itself is returned.

    Example:
        >>> partition = RandomPartition(graph, parts=10, seed=0)
        >>> for epoch in range(epochs):
        ...     for part in partition.prefetching(epoch):
        ...         loss = step(x[part.nodes], part.graph, y[part.nodes])

    Raises:
        ValueError: if `parts` is not between 1 and the number of nodes, if `seed` is negative, or if a graph to be cut is not
            on the CPU.
    """

    def __init__(self, graph: Graph, parts: int, seed: int = 0) -> None:
        parts, seed = _whole(parts, "parts"), _whole(seed, "seed")
        if parts < 1 or parts > max(1, graph.num_nodes):
            raise ValueError(f"parts must be between 1 and the number of nodes ({graph.num_nodes}), got {parts}.")
        if seed < 0:
            raise ValueError(f"seed must be 0 or more, got {seed}.")
        if parts > 1 and graph.device.type != "cpu":
            raise ValueError(f"a graph is cut on the CPU, but this one is on {graph.device}; cut it first, then move each part.")
        self.graph = graph
        self.parts = parts
        self.seed = seed
        self._start_background()

    def __reduce__(self) -> tuple[Any, ...]:
        # What is prepared and the thread that prepares it stay in their process.
        return type(self), (self.graph, self.parts, self.seed)

    def nodes(self, epoch: int) -> list[Tensor]:
        """Return the nodes of each part of one epoch, int64, ascending. No part is cut."""
        _check_epoch(epoch)
        if self.parts == 1:
            return [torch.arange(self.graph.num_nodes)]
        assignment = self._assign(epoch)
        return [torch.from_numpy(assignment.nodes[a:b]) for a, b in itertools.pairwise(assignment.bounds)]

    def epoch(self, epoch: int, *, start: int = 0, only: Sequence[int] | None = None) -> Generator[Part, None, None]:
        """Return the parts of one epoch, from part `start` on. Each is cut when it is asked for.

        Args:
            only: numbers of the parts that are wanted, in this order, instead of all from `start` on.
        """
        _check_epoch(epoch)
        return self._cut_on_demand(epoch, self._wanted(start, only))

    def prefetching(self, epoch: int, *, start: int = 0, only: Sequence[int] | None = None) -> Generator[Part, None, None]:
        """Return the same parts. A background thread cuts each while the one before is in use, also across epochs.

        One part is prepared ahead, by one thread, so that a consumer waits only if its step is shorter than that preparation.
        An error in the background is raised here, in the consumer. A forked process starts a thread of its own. The iterator may
        be abandoned or closed at any time; `close()` drops what is prepared for the next epoch.
        """
        _check_epoch(epoch)
        wanted = self._wanted(start, only)
        return self._cut_on_demand(epoch, wanted) if self.parts == 1 else self._cut_ahead(epoch, wanted, min(only or [0]))

    def close(self) -> None:
        """Drop what was prepared and end the background thread. The partition can still be used."""
        self._start_anew_after_fork()
        with self._lock:
            worker, self._worker, self._next_epoch = self._worker, None, None
        if worker is not None:
            worker.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> RandomPartition:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- one epoch ------------------------------------------------------------------------------------------------------

    def _wanted(self, start: int, only: Sequence[int] | None) -> list[int]:
        """Return the numbers of the parts to cut."""
        wanted = [_whole(index, "a part") for index in (range(start, self.parts) if only is None else only)]
        if any(not 0 <= index < self.parts for index in wanted):
            raise ValueError(f"the parts are numbered from 0 to {self.parts - 1}, got {wanted}.")
        return wanted

    def _cut_on_demand(self, epoch: int, wanted: list[int]) -> Generator[Part, None, None]:
        if self.parts == 1:
            for _ in wanted:
                yield Part(torch.arange(self.graph.num_nodes), self.graph)
            return
        assignment = self._assign(epoch)
        for index in wanted:
            yield self._cut(assignment, index, threads=torch.get_num_threads())

    def _cut_ahead(self, epoch: int, wanted: list[int], upcoming_first: int) -> Generator[Part, None, None]:
        if not wanted:
            return
        self._start_anew_after_fork()
        process, first = os.getpid(), wanted[0]
        # If nothing is prepared, no training step runs meanwhile: use all threads.
        assignment, part = self._take_prepared(epoch, first) or self._first_part(epoch, first, threads=torch.get_num_threads())
        upcoming: Future[Any] | None = None
        try:
            for index in wanted[1:]:
                upcoming = self._submit(self._cut, assignment, index)
                yield part
                if process == os.getpid():
                    part = upcoming.result()
                else:  # forked while the part was in use: the thread that cuts the next one is the parent's
                    self._start_anew_after_fork()
                    process, upcoming, part = os.getpid(), None, self._cut(assignment, index)
            self._prepare_epoch(epoch + 1, upcoming_first)
            yield part
        finally:
            if upcoming is not None:
                upcoming.cancel()  # has no effect on one that is done

    def _assign(self, epoch: int) -> Assignment:
        num_nodes = self.graph.num_nodes
        bounds = np.arange(self.parts + 1, dtype=np.int64) * num_nodes // self.parts
        return Assignment.from_order(np.random.default_rng([self.seed, epoch]).permutation(num_nodes), bounds)

    def _cut(self, assignment: Assignment, index: int, threads: int = 1) -> Part:
        """Cut part `index`. In the background one thread is enough: the cores belong to the training step."""
        graph = self.graph
        graph.check_unchanged()
        values = None if graph.edge_attr is None else _as_numpy(graph.edge_attr.detach())
        arrays = cut_part(graph.indptr.numpy(), graph.src.numpy(), values, assignment, index, threads)
        features = None
        if arrays.values is not None and graph.edge_attr is not None:
            features = torch.from_numpy(arrays.values).view(graph.edge_attr.dtype)
        indptr, src = torch.from_numpy(arrays.indptr), torch.from_numpy(arrays.src)
        nodes = torch.from_numpy(assignment.nodes[slice(*assignment.bounds[index : index + 2])])
        return Part(nodes, Graph(indptr, src, features, edge_scale=graph.edge_scale, validate=False))

    def _first_part(self, epoch: int, start: int = 0, threads: int = 1) -> tuple[Assignment, Part]:
        assignment = self._assign(epoch)
        return assignment, self._cut(assignment, start, threads)

    # --- background thread ----------------------------------------------------------------------------------------------

    def _start_background(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._worker: ThreadPoolExecutor | None = None
        self._next_epoch: tuple[int, int, Future[tuple[Assignment, Part]]] | None = None

    def _start_anew_after_fork(self) -> None:
        """Forget the parent's thread, which does not exist in a forked process, and its lock, which nothing would release there."""
        if self._process != os.getpid():
            self._start_background()

    def _submit(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        with self._lock:
            if self._worker is None:
                self._worker = ThreadPoolExecutor(1, thread_name_prefix="revgnn-partition")
            return self._worker.submit(work, *arguments)

    def _prepare_epoch(self, epoch: int, first: int) -> None:
        prepared = (epoch, first, self._submit(self._first_part, epoch, first))
        with self._lock:
            self._next_epoch = prepared

    def _take_prepared(self, epoch: int, first: int) -> tuple[Assignment, Part] | None:
        """Return the assignment and first part prepared for this epoch, or None."""
        with self._lock:
            prepared, self._next_epoch = self._next_epoch, None
        if prepared is None:
            return None
        if prepared[:2] != (epoch, first):
            prepared[2].cancel()
            return None
        return prepared[2].result()


def _as_numpy(features: Tensor) -> np.ndarray:
    """Return the same memory as an array; bfloat16, which NumPy does not have, as int16 with the same bits."""
    return (features.view(torch.int16) if features.dtype == torch.bfloat16 else features).numpy()


def _whole(value: int, name: str) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be an integer, got {value!r}.") from None


def _check_epoch(epoch: int) -> None:
    if _whole(epoch, "epoch") < 0:
        raise ValueError(f"epoch must be 0 or more, got {epoch}.")
