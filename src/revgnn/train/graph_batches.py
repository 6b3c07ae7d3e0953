"""A data set of many small graphs as batches on the device: some graphs a step, others in each epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from revgnn.data import NodeDataset, RandomPartition
from revgnn.train.batches import AbstractBatches, Batch

_TAG = 0x67726170
"""Keeps the order of graphs apart from all other random numbers of a seed."""


class GraphBatches(AbstractBatches):
    """The batches of a data set of graphs. Each is a block-diagonal graph.

    Args:
        size: graphs in a batch (`RunConfig.graphs_per_batch`).
        seed: of their order in training.
        teacher: float32 (G, outputs): the teacher's logits; see `revgnn.train.tricks.teacher`.
    """

    def __init__(self, dataset: NodeDataset, device: torch.device, size: int, seed: int, teacher: Tensor | None = None) -> None:
        self.dataset = dataset
        self.label_reuse = 0  # graphs have no labels as inputs
        self.device = device
        self._size = size
        self._seed = seed
        self._teacher = teacher
        self._is_train = torch.zeros(dataset.num_rows, dtype=torch.bool)
        self._is_train[dataset.split.train] = True

    @property
    def whole(self) -> Batch:
        """All graphs as one batch."""
        return self._batch(torch.arange(self.dataset.num_rows))

    def steps(self, partition: RandomPartition) -> int:
        return -(-len(self.dataset.split.train) // self._size)

    def rows(self, partition: RandomPartition, epoch: int) -> list[Tensor]:
        order = np.random.default_rng([self._seed, epoch, _TAG]).permutation(len(self.dataset.split.train))
        graphs = self.dataset.split.train.sort().values[torch.from_numpy(order)]
        return list(graphs.split(self._size))

    def epoch(
        self, partition: RandomPartition, epoch: int, start: int = 0, *, only: Sequence[int] | None = None
    ) -> Iterator[Batch]:
        """Yield the training graphs of one epoch from batch `start` on, in an order that depends only on seed and epoch."""
        rows = self.rows(partition, epoch)
        for number in range(start, len(rows)) if only is None else only:
            yield self._batch(rows[number])

    def view(self, parts: int, seed: int, own: Callable[[int], Sequence[int]] = range) -> Iterator[Batch]:
        """Yield all graphs in their order."""
        batches = torch.arange(self.dataset.num_rows).split(self._size)
        for number in own(len(batches)):
            yield self._batch(batches[number])

    def _batch(self, rows: Tensor) -> Batch:
        data = self.dataset
        assert data.graphs is not None
        nodes, graph, indptr = data.graphs.take(data.graph, rows)

        def move(t: Tensor | None, index: Tensor) -> Tensor | None:
            return None if t is None else t[index].to(self.device)

        y = data.y[rows]
        train = self._is_train[rows].nonzero().squeeze(1)
        return Batch(
            nodes=nodes,
            graph=graph.to(self.device),
            x=move(data.x, nodes),
            species=move(data.species, nodes),
            y=data.objective.encode(y).to(self.device),
            train=train.to(self.device),
            num_labelled=data.objective.num_labelled(y[train]),
            teacher=move(self._teacher, rows),
            rows=rows,
            targets={"targets": indptr.to(self.device)},
        )
