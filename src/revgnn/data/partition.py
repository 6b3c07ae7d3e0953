"""Random partition of a graph into parts, anew each epoch: the paper's mini-batches on ogbn-proteins and ogbn-products."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from revgnn.data.cut import Draw, Piece, cut
from revgnn.graph import Graph

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Part:
    """A part of a graph: `nodes` (int64, (M,), ascending) of the whole, and the edges among them, `nodes[i]` renamed `i`.

    The edges of `graph` carry their features and keep the whole graph's order within a destination, so that
    `graph` equals `whole.subgraph(nodes)`.
    """

    nodes: Tensor
    graph: Graph


class RandomPartition:
    """Cuts a graph into `parts` random parts, differently every epoch, reproducibly from `(seed, epoch)` alone.

    A random permutation of the nodes, `numpy.random.default_rng([seed, epoch]).permutation(N)`, is cut into runs of equal
    size (give or take one node). The authors' code draws each node's part independently instead, so that its parts differ in
    size by about sqrt(N / P); equal parts make steps of equal cost and memory. Edges between parts are dropped for the epoch.

    A part is cut when its turn comes, by a walk over the edges of its own nodes: P parts together read each edge once. Memory:
    the part that is out, and the next one while prefetching; never a copy of the whole, nor anything of its number of edges, so
    the graph may be a file mapped into memory. With one part the graph itself is handed out.

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
        if parts < 1 or parts > max(1, graph.num_nodes):
            raise ValueError(f"parts must be between 1 and the number of nodes ({graph.num_nodes}), got {parts}.")
        if seed < 0:
            raise ValueError(f"seed must be 0 or more, got {seed}.")
        if parts > 1 and graph.device.type != "cpu":
            raise ValueError(f"a graph is cut on the CPU, but this one is on {graph.device}; cut it there and move each part.")
        self.graph = graph
        self.parts = parts
        self.seed = seed
        self._lock = threading.Lock()
        self._worker: ThreadPoolExecutor | None = None
        self._next: tuple[int, Future[tuple[Draw, Part]]] | None = None

    def epoch(self, epoch: int, *, start: int = 0) -> Generator[Part, None, None]:
        """The parts of one epoch, from part `start` on, each prepared when it is asked for."""
        _check_epoch(epoch)
        return self._one_by_one(epoch, start)

    def prefetching(self, epoch: int, *, start: int = 0) -> Generator[Part, None, None]:
        """The same parts, each prepared on a background thread while the one before is in use, from epoch to epoch.

        One part is ahead, so a consumer waits only where its step is shorter than one part's preparation, which takes one thread.
        What goes wrong in the background is raised here, in the consumer. The iterator may be left or closed at any time;
        `close()` drops what is prepared for the next epoch.
        """
        _check_epoch(epoch)
        return self._one_by_one(epoch, start) if self.parts == 1 else self._ahead(epoch, start)

    def close(self) -> None:
        """Drop what was prepared and let the background thread end. The partition stays usable."""
        with self._lock:
            worker, self._worker, self._next = self._worker, None, None
        if worker is not None:
            worker.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> RandomPartition:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- one epoch ------------------------------------------------------------------------------------------------------

    def _one_by_one(self, epoch: int, start: int) -> Generator[Part, None, None]:
        if self.parts == 1:
            if start == 0:
                yield Part(torch.arange(self.graph.num_nodes), self.graph)
            return
        draw = self._draw(epoch)
        for index in range(start, self.parts):
            yield self._part(draw, index, threads=torch.get_num_threads())

    def _ahead(self, epoch: int, start: int) -> Generator[Part, None, None]:
        if start >= self.parts:
            return
        # Where nothing is prepared nobody trains meanwhile: use all threads.
        draw, part = self._take_next(epoch, start) or self._begin(epoch, start, threads=torch.get_num_threads())
        upcoming: Future[Any] | None = None
        try:
            for index in range(start + 1, self.parts):
                upcoming = self._submit(self._part, draw, index)
                yield part
                part = upcoming.result()
            self._prepare(epoch + 1)
            yield part
        finally:
            if upcoming is not None:
                upcoming.cancel()  # means nothing to one that is done

    def _draw(self, epoch: int) -> Draw:
        num_nodes = self.graph.num_nodes
        bounds = np.arange(self.parts + 1, dtype=np.int64) * num_nodes // self.parts
        return Draw.of(np.random.default_rng([self.seed, epoch]).permutation(num_nodes), bounds)

    def _part(self, draw: Draw, index: int, threads: int = 1) -> Part:
        """One thread by default, as in the background: the cores belong to the training step."""
        graph = self.graph
        values = None if graph.edge_attr is None else _as_numpy(graph.edge_attr.detach())
        piece: Piece = cut(graph.indptr.numpy(), graph.src.numpy(), values, draw, index, threads)
        features = None
        if piece.values is not None and graph.edge_attr is not None:
            features = torch.from_numpy(piece.values).view(graph.edge_attr.dtype)
        indptr, src = torch.from_numpy(piece.indptr), torch.from_numpy(piece.src)
        nodes = torch.from_numpy(draw.nodes[slice(*draw.bounds[index : index + 2])])
        return Part(nodes, Graph(indptr, src, features, edge_scale=graph.edge_scale, validate=False))

    def _begin(self, epoch: int, start: int = 0, threads: int = 1) -> tuple[Draw, Part]:
        draw = self._draw(epoch)
        return draw, self._part(draw, start, threads)

    # --- the background -------------------------------------------------------------------------------------------------

    def _submit(self, work: Callable[..., T], *arguments: Any) -> Future[T]:
        with self._lock:
            if self._worker is None:
                self._worker = ThreadPoolExecutor(1, thread_name_prefix="revgnn-partition")
            return self._worker.submit(work, *arguments)

    def _prepare(self, epoch: int) -> None:
        prepared = (epoch, self._submit(self._begin, epoch))
        with self._lock:
            self._next = prepared

    def _take_next(self, epoch: int, start: int) -> tuple[Draw, Part] | None:
        with self._lock:
            prepared, self._next = self._next, None
        if prepared is None:
            return None
        if prepared[0] != epoch or start != 0:
            prepared[1].cancel()
            return None
        return prepared[1].result()


def _as_numpy(features: Tensor) -> np.ndarray:
    """The same memory; bfloat16, which NumPy lacks, as integers of its bits."""
    return (features.view(torch.int16) if features.dtype == torch.bfloat16 else features).numpy()


def _check_epoch(epoch: int) -> None:
    if epoch < 0:
        raise ValueError(f"epoch must be 0 or more, got {epoch}.")
