"""Optimiser steps on several parts, which the processes of a team share.

The loss of a step is that of the labelled training nodes of all its parts together. Each part counts by what its mean divides by
(`AbstractTask.loss_weight`), the divergence from a teacher and the model's auxiliary loss by the nodes of the part. With labels as
inputs, a part counts by all its labelled training nodes, and its loss is the mean over those that are hidden.

A part draws random numbers that depend on the run's seed, the epoch and the number of the part only, and starts from the statistics
of batch norm before the step. So it does not matter which process trains on it, nor what that process trained on before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from revgnn.train.batches import Batch
from revgnn.train.random_numbers import own_random_numbers
from revgnn.train.run.moving import MovingValues
from revgnn.train.run.session import Session, Share, differentiate, set_learning_rate, training_step
from revgnn.train.run.team import GradientExchange, Team

_TAG = 0x70617274
"""Keeps the random numbers of parts apart from all others of a seed."""


@dataclass(frozen=True)
class PartSize:
    """What a part of an epoch counts for in its step."""

    weight: float
    """What the mean of its loss divides by; 0: it has no labelled training node, and is skipped."""
    labelled: int
    """Training nodes with a label."""
    rows: int


NOTHING = Share(0.0, 0.0)
"""The share of a part that belongs to another process, and is only repeated since all must work equally often."""


@dataclass(frozen=True)
class Step:
    """An optimiser step that was taken, or left out since none of its training nodes has a label."""

    loss: float
    """Of all its parts together."""
    labelled: int
    """Training nodes with a label, in all its parts; 0: it was left out."""
    seconds: float


class EpochSteps:
    """The remaining optimiser steps of an epoch. Iterating takes them.

    Args:
        epoch: its number, from 1.
        start: steps that are done already.
        team: the processes that share the parts of a step.
        exchange: sums the gradients of the session's model over them.
        should_stop: whether this process is asked to stop.
    """

    def __init__(
        self,
        session: Session,
        epoch: int,
        start: int,
        team: Team,
        exchange: GradientExchange,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._session, self._epoch, self._start = session, epoch, start
        self._team, self._exchange, self._should_stop = team, exchange, should_stop
        self._moving = MovingValues(session.model)
        self._stops = False

    @property
    def stopping(self) -> bool:
        """Whether a process is asked to stop: all of them then stop after the same step."""
        return self._should_stop() if self._team.size == 1 else self._stops

    def __iter__(self) -> Iterator[Step]:
        one_part = self._session.config.parts_per_step == 1 and self._team.size == 1
        return self._of_one_part() if one_part else self._of_several_parts()

    def _of_one_part(self) -> Iterator[Step]:
        """Take steps of one part, which need no shares and draw from torch's generators as they stand."""
        session, step = self._session, self._start
        for batch in session.batches.epoch(session.partition, self._epoch, start=step):
            started = time.perf_counter()
            loss = training_step(session, batch, self._done(step)) if batch.num_labelled else 0.0
            step += 1
            yield Step(loss, batch.num_labelled, time.perf_counter() - started)

    def _of_several_parts(self) -> Iterator[Step]:
        session, per_step = self._session, self._session.config.parts_per_step
        sizes = part_sizes(session, self._epoch)
        steps = [range(n, min(n + per_step, len(sizes))) for n in range(self._start * per_step, len(sizes), per_step)]
        own = [self._work(parts, sizes) for parts in steps]
        batches = session.batches.epoch(session.partition, self._epoch, only=[part for work in own for part, _ in work])
        for number, (parts, mine) in enumerate(zip(steps, own, strict=True), start=self._start):
            started = time.perf_counter()
            loss, used = 0.0, [sizes[part] for part in parts if sizes[part].weight]
            if used:
                set_learning_rate(session, self._done(number))
                pieces = ((part, next(batches), share) for part, share in mine)
                loss = self._take(pieces, len(mine), len(used))
            yield Step(loss, sum(size.labelled for size in used), time.perf_counter() - started)

    def _work(self, parts: Sequence[int], sizes: list[PartSize]) -> list[tuple[int, Share]]:
        """Return the parts of a step that this process works on, and the share of each. One whose share is `NOTHING` is repeated.

        Args:
            parts: numbers of all parts of the step.
            sizes: of all parts of the epoch.
        """
        used = [sizes[part] for part in parts if sizes[part].weight]
        own = (parts[i] for i in self._team.own(len(parts)))
        return [(part, share_of(sizes[part], used)) for part in own if sizes[part].weight]

    def _done(self, step: int) -> float:
        """Return the epochs that are done before a step."""
        return self._epoch - 1 + step / self._session.steps

    def _take(self, pieces: Iterator[tuple[int, Batch, Share]], count: int, parts: int) -> float:
        """Take one step on `count` parts of this process, of `parts` in the whole team, and return the loss of the step."""
        session, moving = self._session, self._moving
        moving.begin_step()
        session.optimizer.zero_grad(set_to_none=True)
        sums: Tensor | None = None
        for n, (part, batch, share) in enumerate(pieces, start=1):
            moving.begin_part()
            with self._random_numbers(part), self._exchange.during_backward() if n == count else nullcontext():
                found = torch.stack([t.detach() for t in differentiate(session, batch, share)])
            if share != NOTHING:
                moving.end_part()
            sums = found if sums is None else sums + found
        if sums is None:
            session.scaler.prepare(session.device)
            sums = torch.zeros(2, device=session.device)
        flags = torch.tensor([float(self._should_stop()), float(moving.is_coarser)], device=session.device)
        loss, total, stops, coarser = self._exchange.finish(torch.cat([sums.float(), flags])).unbind()
        clip_norm = session.config.optim.clip_norm
        value = session.scaler.update(session.model, session.optimizer, loss, total, clip_norm)
        moving.end_step(parts, self._team, any_is_coarser=bool(coarser))
        self._stops = bool(stops)
        return value

    def _random_numbers(self, part: int) -> AbstractContextManager[None]:
        """Return a context with the random numbers of a part. A run with one part a step has one stream for all of them."""
        session = self._session
        if session.config.parts_per_step == 1:
            return nullcontext()
        seed = np.random.SeedSequence([session.config.seed, self._epoch, part, _TAG]).generate_state(1, np.uint64)[0] >> 1
        return own_random_numbers(session.device, int(seed))


def part_sizes(session: Session, epoch: int) -> list[PartSize]:
    """Return what each part of an epoch counts for, in order. No graph is cut."""
    data = session.dataset
    task, weights = data.objective, None if session.class_weights is None else session.class_weights.cpu()
    is_train = torch.zeros(len(data.y), dtype=torch.bool)
    is_train[data.split.train] = True
    sizes = []
    for rows in session.batches.rows(session.partition, epoch):
        y = data.y[rows[is_train[rows]]]
        labelled = task.num_labelled(y)
        sizes.append(PartSize(task.loss_weight(y, weights) if labelled else 0.0, labelled, len(rows)))
    return sizes


def share_of(part: PartSize, parts: list[PartSize]) -> Share:
    """Return the share of a part among the parts of its step that are not skipped."""
    return Share(part.weight / sum(p.weight for p in parts), part.rows / sum(p.rows for p in parts))
