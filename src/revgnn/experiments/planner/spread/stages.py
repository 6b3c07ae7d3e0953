"""A training step of one stage of a pipeline, rehearsed: the code of the run, and the schedule that it runs by.

Only the layers of the stage are built: of what happens in the others a process knows the sizes of what they send.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import NamedTuple

import torch

from revgnn.experiments.planner.memory import Rehearsals, blend, stacked_layers
from revgnn.experiments.planner.rehearse import Rehearsed, Traffic, new_rehearsal, rehearsed_batch, session_of
from revgnn.experiments.planner.size import BatchSize, DataSize
from revgnn.experiments.planner.spread.imagined import imagined_ranks
from revgnn.experiments.planner.spread.rehearse import found_in, label_gradients
from revgnn.graph import Graph
from revgnn.graph.index import BySource
from revgnn.memory import Rehearsal
from revgnn.models.config import StackConfig
from revgnn.stack import Backprop, Checkpoint, GradientStrategy, Reversible
from revgnn.train.batches import Batch
from revgnn.train.config import RunConfig
from revgnn.train.run.session import Share as LossShare

_MOST_UNDER_WAY = 4
"""Parts under way up to which they are rehearsed as they are. Memory is linear in more."""


class Place(NamedTuple):
    """The place of a stage in a pipeline, and the parts that pass through it.

    Attributes:
        ranks, rank: stages, and its number.
        count: parts of a step.
    """

    ranks: int
    rank: int
    count: int

    @property
    def under_way(self) -> int:
        """Parts of which the stage holds something at once: with fewer parts than stages all go forward before one goes back."""
        return self.count if self.count < self.ranks else min(self.ranks - self.rank, self.count)

    def alike(self, under_way: int) -> Place:
        """Return a place in a short pipeline: with so many parts under way, first, last or between them as this one."""
        rank = min(self.rank, 1)
        if self.count < self.ranks:
            ranks = max(under_way + 1, rank + 2)
            return Place(ranks, ranks - 1 if self.rank == self.ranks - 1 else rank, under_way)
        return Place(max(2, under_way + rank), rank, min(self.count, max(2, under_way + rank) + 1))


def rehearse_place(rehearsals: Callable[[Place], Rehearsals], stage: RunConfig, place: Place) -> Rehearsed:
    """Return what a stage needs, whose layers are those of a run.

    Args:
        rehearsals: returns those of a place.
    """
    under_way = place.under_way
    if under_way <= _MOST_UNDER_WAY:
        return rehearsals(place.alike(under_way)).of(stage)
    fewer, most = (rehearsals(place.alike(n)).of(stage) for n in (_MOST_UNDER_WAY - 1, _MOST_UNDER_WAY))
    share = float(under_way - (_MOST_UNDER_WAY - 1))
    return blend([(1.0 - share, fewer), (share, most)])


def of_stage(place: Place) -> Callable[[RunConfig, DataSize, torch.device], Rehearsed]:
    """Return what rehearses a step of the stage at this place."""
    return partial(rehearse_stage, place=place)


def rehearse_stage(run: RunConfig, data: DataSize, device: torch.device, place: Place) -> Rehearsed:
    """Rehearse a step of a stage that has the layers of the run.

    Layers that share their weights are in all stages: so many are built.
    """
    # takes a while to import
    from revgnn.distributed.pipeline.pipeline import Pipeline

    ranks, rank, count = place
    size = data.training_batch(run.parts, run.graphs_per_batch)
    layers, run = _layers(run, ranks, rank)
    with imagined_ranks(ranks, rank) as team, new_rehearsal(device) as rehearsal:
        session = session_of(run, data, device, rehearsal.label)
        label_gradients(rehearsal, session)
        pipeline = Pipeline(session, team, layers=layers)
        begin, exchanges = rehearsal.time, team.exchanges

        def pieces() -> Iterator[tuple[int, Batch, LossShare]]:
            for n in range(count):
                batch = _batch(rehearsal, run, data, size, device)  # kept until the next, as by a run
                yield n, batch, LossShare(1.0 / count, 1.0 / count)

        sums = pipeline.differentiate(count, pieces, lambda _: nullcontext())
        loss, total = team.sum(sums).unbind()
        session.scaler.clip = pipeline.clip
        session.scaler.update(session.model, session.optimizer, loss, total, run.optim.clip_norm)
        pipeline.share_weights()
        stage = pipeline.stages[0]
        state = size.num_nodes * stage.channels * stage.dtype.itemsize
        shared = [pipeline.cut.numel[owned.name] for owned in pipeline.cut.parameters if len(owned.stages) > 1]
        traffic = Traffic(
            exchanges=team.exchanges - exchanges,
            per_part=state + 4 * stage.carried,
            summed=4 * (sum(shared) + 2 * len(pipeline.cut.parameters)),  # and norms of gradients
        )
        return found_in(rehearsal, session, begin, traffic)


def _layers(run: RunConfig, ranks: int, rank: int) -> tuple[list[range], RunConfig]:
    """Return the layers of each stage of a network that is built for one of them, and the run of this network."""
    model = run.model
    assert isinstance(model, StackConfig)
    own = stacked_layers(model)
    if not getattr(model, "tied", False):
        return [range(0)] * rank + [range(own)] + [range(own, own)] * (ranks - 1 - rank), run
    changes: dict[str, int] = {"depth": model.depth + (ranks - 1) * own}
    if getattr(model, "segments", 1) > 1:
        changes["segments"] = ranks * getattr(model, "segments", 1)
    layers = [range(n * own, (n + 1) * own) for n in range(ranks)]
    return layers, run.model_copy(update={"model": model.model_copy(update=changes)})


def _batch(rehearsal: Rehearsal, run: RunConfig, data: DataSize, size: BatchSize, device: torch.device) -> Batch:
    batch = rehearsed_batch(rehearsal, run, data, size, device)
    graph = batch.graph
    return Batch(**{**vars(batch), "graph": _IndexedWhenUsed(rehearsal, graph)})


class _IndexedWhenUsed(Graph):
    """A graph whose form by source is made when it is asked for: of the parts under way few need it at once."""

    def __init__(self, rehearsal: Rehearsal, graph: Graph) -> None:
        super().__init__(graph.indptr, graph.src, graph.edge_attr, validate=False)
        self._rehearsal = rehearsal

    @property
    def by_source(self) -> BySource:
        if self._by_source is None:
            with self._rehearsal.label("graph"):
                self._by_source = BySource(*(torch.empty_like(t) for t in (self.indptr, self.src, self.src)))
        return self._by_source


def stage_of(run: RunConfig, layers: range, gradient: GradientStrategy) -> RunConfig:
    """Return a run whose stack is the layers of one stage, which stores as many states as that stage does.

    Args:
        layers: of the stage.
        gradient: the strategy of the whole stack, see `gradient_of`.
    """
    model = run.model
    assert isinstance(model, StackConfig)
    depth = stacked_layers(model)
    own = 2 * math.ceil(len(layers) / 2) if getattr(model, "repeats_pair", False) else len(layers)
    changes: dict[str, int] = {"depth": own + model.depth - depth}
    if isinstance(gradient, Checkpoint):
        changes["checkpoint_every"] = len(gradient.ranges(depth)[0])
    if isinstance(gradient, Reversible):
        segments = sum(1 for each in gradient.ranges(depth) if each.start < layers.stop and layers.start < each.stop)
        changes["segments"] = min(segments, own)
    return run.model_copy(update={"model": model.model_copy(update=changes)})


def gradient_of(model: StackConfig) -> GradientStrategy:
    """Return the strategy of a stack."""
    match model.effective_gradient:
        case "reversible":
            return Reversible(getattr(model, "segments", 1))
        case "checkpoint":
            return Checkpoint(model.checkpoint_every)
    return Backprop()


def most_stages(model: StackConfig) -> int:
    """Return the stages that a stack can be cut into: each begins with a layer, or with a stored state if there are some."""
    gradient, depth = gradient_of(model), stacked_layers(model)
    return max(1, len(gradient.ranges(depth)) if isinstance(gradient, Checkpoint) else depth)
