"""A data set of pairs of nodes as batches on the device: the whole graph, and the pairs of one part of the split."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from revgnn.data import NodeDataset, NonLinks, RandomPartition
from revgnn.train.batches import AbstractBatches, Batch

_TAG = 0x70616972
"""Keeps the pairs that are drawn apart from all other random numbers of a seed."""


class PairBatches(AbstractBatches):
    """One batch an epoch: all training pairs. Where `y` says which pairs are links, it has as many others, drawn anew.

    Args:
        seed: of the pairs that are drawn.
        teacher: float32 (P, outputs): the teacher's logits; see `revgnn.train.tricks.teacher`.

    Raises:
        ValueError: if there is a teacher, and pairs are drawn: it has no logits of them.
    """

    def __init__(self, dataset: NodeDataset, device: torch.device, seed: int, teacher: Tensor | None = None) -> None:
        self.dataset = dataset
        self.device = device
        self.label_reuse = 0  # pairs have no labels as inputs
        self._seed = seed
        self._teacher = teacher
        assert dataset.pairs is not None
        self._pairs = dataset.pairs
        if teacher is not None and self._pairs.draws_negatives:
            raise ValueError("links have no distillation, since a teacher has no logits of pairs that are drawn; leave it out.")

    @cached_property
    def whole(self) -> Batch:
        """All pairs as one batch."""
        return self._batch(torch.arange(len(self._pairs)))

    def steps(self, partition: RandomPartition) -> int:
        return 1

    def rows(self, partition: RandomPartition, epoch: int) -> list[Tensor]:
        return [self.dataset.split.train.sort().values]

    def epoch(
        self, partition: RandomPartition, epoch: int, start: int = 0, *, only: Sequence[int] | None = None
    ) -> Iterator[Batch]:
        """Yield the one batch of an epoch, which depends only on seed and epoch."""
        if start or (only is not None and not only):
            return
        train = self.dataset.split.train.sort().values
        if not self._pairs.draws_negatives:
            yield self._batch(train)
            return
        links = train[self.dataset.y[train] == 1]
        drawn = self._source.draw(len(links), np.random.default_rng([self._seed, epoch, _TAG]))
        batch = self._batch(links)
        yield replace(
            batch,
            y=torch.cat([batch.y, torch.zeros_like(batch.y)]),
            train=torch.arange(2 * len(links), device=self.device),
            num_labelled=2 * len(links),
            rows=None,
            targets={"targets": torch.cat([batch.targets["targets"], drawn.to(self.device)], dim=1)},
        )

    def view(self, parts: int, seed: int, own: Callable[[int], Sequence[int]] = range) -> Iterator[Batch]:
        yield from [self.whole] * len(own(1))

    @cached_property
    def _source(self) -> NonLinks:
        return NonLinks(self.dataset.num_nodes, self._pairs.ends[:, self.dataset.y == 1], self._pairs.directed)

    @cached_property
    def _inputs(self) -> Batch:
        data = self.dataset

        def move(t: Tensor | None) -> Tensor | None:
            return None if t is None else t.to(self.device)

        none = torch.zeros(0, dtype=torch.int64)
        return Batch(None, data.graph.to(self.device), move(data.x), move(data.species), none, none, 0)

    def _batch(self, rows: Tensor) -> Batch:
        data, y = self.dataset, self.dataset.y[rows]
        is_train = torch.zeros(len(self._pairs), dtype=torch.bool)
        is_train[data.split.train] = True
        train = is_train[rows].nonzero().squeeze(1)
        return replace(
            self._inputs,
            y=data.objective.encode(y).to(self.device),
            train=train.to(self.device),
            num_labelled=data.objective.num_labelled(y[train]),
            teacher=None if self._teacher is None else self._teacher[rows].to(self.device),
            rows=rows,
            targets={"targets": self._pairs.ends[:, rows].to(self.device)},
        )
