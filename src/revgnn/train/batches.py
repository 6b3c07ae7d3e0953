"""A data set as batches on the device: the whole graph, or the random parts of it one after another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from revgnn.data import NodeDataset, RandomPartition
from revgnn.graph import Graph


@dataclass(frozen=True)
class Batch:
    """A part of the data set with M nodes. Everything but `nodes` is on the device.

    Attributes:
        nodes: int64 (M,), on the CPU: the nodes' numbers in the data set. None for the whole graph.
        graph: the M nodes and the edges between them.
        x: float32 (M, F), or None.
        species: int64 (M,), or None.
        y: labels of the M nodes, as the loss of the task takes them.
        train: int64 (S,): positions of the training nodes within the part.
        num_labelled: how many of the training nodes have a label. A part without any is skipped in training.
        labels: float32 (M, L): labels of the training nodes as vectors, if the run uses labels as inputs; else None.
        shown: bool (M,): nodes whose label is part of `x`; None while no labels are. See `revgnn.train.tricks.label_inputs`.
        teacher: float32 (M, outputs): the teacher's logits, if the run learns from a teacher; else None.
        rows: int64, on the CPU: the numbers of the graphs that `y` and the logits belong to, if they are not those of nodes.
        targets: further arguments of the model, which say what its logits belong to; none for nodes.
    """

    nodes: Tensor | None
    graph: Graph
    x: Tensor | None
    species: Tensor | None
    y: Tensor
    train: Tensor
    num_labelled: int
    labels: Tensor | None = None
    shown: Tensor | None = None
    teacher: Tensor | None = None
    rows: Tensor | None = None
    targets: Mapping[str, Tensor] = field(default_factory=dict)


class AbstractBatches(ABC):
    """A data set as batches on a device.

    Attributes:
        label_reuse: passes before the last one if labels are inputs (`RunConfig.label_reuse`).
    """

    dataset: NodeDataset
    device: torch.device
    label_reuse: int

    @property
    @abstractmethod
    def whole(self) -> Batch:
        """All of the data as one batch."""

    @abstractmethod
    def steps(self, partition: RandomPartition) -> int:
        """Return the number of batches of an epoch."""

    @abstractmethod
    def rows(self, partition: RandomPartition, epoch: int) -> list[Tensor]:
        """Return the rows of `dataset.y` in each batch of one epoch, int64. No graph is cut."""

    @abstractmethod
    def epoch(
        self, partition: RandomPartition, epoch: int, start: int = 0, *, only: Sequence[int] | None = None
    ) -> Iterator[Batch]:
        """Yield the batches of one epoch from batch `start` on. They depend only on the seed and on `epoch`.

        Args:
            only: numbers of the batches that are wanted, in this order, instead of all from `start` on.
        """

    @abstractmethod
    def view(self, parts: int, seed: int, own: Callable[[int], Sequence[int]] = range) -> Iterator[Batch]:
        """Yield batches in which each row occurs once, for evaluation.

        Args:
            own: returns the numbers of those that are wanted, of so many; default: all.
        """


class Batches(AbstractBatches):
    """The batches of one data set. The whole graph is moved to the device once, when it is first used.

    Args:
        labels: float32 (N, L): label vectors for each batch; see `revgnn.train.tricks.label_inputs`.
        teacher: float32 (N, outputs): logits for each batch; see `revgnn.train.tricks.teacher`.
    """

    def __init__(
        self,
        dataset: NodeDataset,
        device: torch.device,
        labels: Tensor | None = None,
        *,
        label_reuse: int = 0,
        teacher: Tensor | None = None,
    ) -> None:
        self.dataset = dataset
        self.device = device
        self.label_reuse = label_reuse
        self._labels = labels
        self._teacher = teacher
        self._is_train = torch.zeros(dataset.num_nodes, dtype=torch.bool)
        self._is_train[dataset.split.train] = True

    @cached_property
    def whole(self) -> Batch:
        """The whole graph as one batch."""
        return self._batch(None, self.dataset.graph)

    def steps(self, partition: RandomPartition) -> int:
        return partition.parts

    def rows(self, partition: RandomPartition, epoch: int) -> list[Tensor]:
        return partition.nodes(epoch)

    def epoch(
        self, partition: RandomPartition, epoch: int, start: int = 0, *, only: Sequence[int] | None = None
    ) -> Iterator[Batch]:
        """Yield the parts of one epoch from part `start` on, while the next epoch's are cut in the background.

        Their order and content depend only on the partition's seed and on `epoch`.
        """
        if partition.parts == 1:
            yield from [self.whole] * len(range(start, 1) if only is None else only)
            return
        with closing(partition.prefetching(epoch, start=start, only=only)) as parts:
            for part in parts:
                yield self._batch(part.nodes, part.graph)

    def view(self, parts: int, seed: int, own: Callable[[int], Sequence[int]] = range) -> Iterator[Batch]:
        """Yield the parts of one partition. Nothing is cut in the background."""
        if parts == 1:
            yield from [self.whole] * len(own(1))
            return
        for part in RandomPartition(self.dataset.graph, parts, seed).epoch(0, only=own(parts)):
            yield self._batch(part.nodes, part.graph)

    def _batch(self, nodes: Tensor | None, graph: Graph) -> Batch:
        def rows(t: Tensor) -> Tensor:
            return t if nodes is None else t[nodes]

        def move(t: Tensor | None) -> Tensor | None:
            return None if t is None else rows(t).to(self.device)

        train = rows(self._is_train).nonzero().squeeze(1)
        task, y = self.dataset.objective, rows(self.dataset.y)
        return Batch(
            nodes=nodes,
            graph=graph.to(self.device),
            x=move(self.dataset.x),
            species=move(self.dataset.species),
            y=task.encode(y).to(self.device),
            train=train.to(self.device),
            num_labelled=task.num_labelled(y[train]),
            labels=move(self._labels),
            teacher=move(self._teacher),
        )
