"""Random partition of a graph into parts, anew each epoch: the paper's mini-batches on ogbn-proteins and ogbn-products."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from revgnn.data.cut import Cut, cut, take_rows
from revgnn.graph import Graph


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

    Memory: about one in P of the graph's edges as indices, and the edge features of the part that is out (and of the next one
    while prefetching); never a copy of the whole. With one part the graph itself is handed out.

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
        self._next: tuple[int, Future[Cut]] | None = None

    def epoch(self, epoch: int, *, start: int = 0) -> Generator[Part, None, None]:
        """The parts of one epoch, from part `start` on, each prepared when it is asked for."""
        _check_epoch(epoch)
        return self._one_by_one(epoch, start)

    def prefetching(self, epoch: int, *, start: int = 0) -> Generator[Part, None, None]:
        """The same parts, prepared on a background thread: the next part and the next epoch's cut while this part is in use.

        At most one part and one cut are ahead. What goes wrong in the background is raised here, in the consumer. The iterator
        may be left or closed at any time; `close()` drops what is prepared for the next epoch.
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
        whole = self._cut(epoch, threads=torch.get_num_threads())
        for index in range(start, self.parts):
            yield self._part(whole, index)

    def _ahead(self, epoch: int, start: int) -> Generator[Part, None, None]:
        whole = self._take_next(epoch)
        if whole is None:
            # Nobody trains meanwhile: use all threads.
            whole = self._cut(epoch, threads=torch.get_num_threads())
        upcoming = self._submit_part(whole, start)
        try:
            for index in range(start, self.parts):
                part = upcoming.result()
                if index + 1 < self.parts:
                    upcoming = self._submit_part(whole, index + 1)
                if index == start:
                    self._prepare(epoch + 1)
                yield part
        finally:
            upcoming.cancel()

    def _cut(self, epoch: int, threads: int) -> Cut:
        num_nodes = self.graph.num_nodes
        bounds = np.arange(self.parts + 1, dtype=np.int64) * num_nodes // self.parts
        nodes = np.random.default_rng([self.seed, epoch]).permutation(num_nodes)
        # Ascending within a part: the walk over edges and features then goes forwards through memory.
        for start, stop in itertools.pairwise(bounds):
            nodes[start:stop].sort()
        return cut(self.graph.indptr.numpy(), self.graph.src.numpy(), nodes, bounds, threads)

    def _part(self, whole: Cut, index: int) -> Part:
        start, stop = whole.bounds[index : index + 2]
        indptr = whole.indptr[start : stop + 1]
        first, last = indptr[0], indptr[-1]
        features = self.graph.edge_attr
        if features is not None:
            features = torch.from_numpy(take_rows(features.detach().numpy(), whole.edge[first:last]))
        nodes, src = torch.from_numpy(whole.nodes[start:stop]), torch.from_numpy(whole.src[first:last])
        return Part(nodes, Graph(torch.from_numpy(indptr - first), src, features, validate=False))

    # --- the background -------------------------------------------------------------------------------------------------

    def _pool(self) -> ThreadPoolExecutor:
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="revgnn-partition")
        return self._worker

    def _submit_part(self, whole: Cut, index: int) -> Future[Part]:
        with self._lock:
            return self._pool().submit(self._part, whole, index)

    def _prepare(self, epoch: int) -> None:
        with self._lock:
            # One thread: the cores belong to the training step.
            self._next = (epoch, self._pool().submit(self._cut, epoch, 1))

    def _take_next(self, epoch: int) -> Cut | None:
        with self._lock:
            prepared, self._next = self._next, None
        if prepared is None:
            return None
        if prepared[0] != epoch:
            prepared[1].cancel()
            return None
        return prepared[1].result()


def _check_epoch(epoch: int) -> None:
    if epoch < 0:
        raise ValueError(f"epoch must be 0 or more, got {epoch}.")
