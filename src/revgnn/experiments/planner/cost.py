"""Seconds of a run on a device, at any depth, size of batch and width, from a few measured steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from revgnn.experiments.planner.memory import stacked_layers
from revgnn.experiments.planner.size import BatchSize, DataSize
from revgnn.models.config import EquilibriumConfig
from revgnn.train.config import RunConfig


class Line(NamedTuple):
    """Seconds that are linear in nodes and edges of a batch: `fixed + per_node * N + per_edge * E`, none of them negative."""

    fixed: float
    per_node: float
    per_edge: float

    def at(self, batch: BatchSize) -> float:
        """Return the seconds for a batch."""
        return self.fixed + self.per_node * batch.num_nodes + self.per_edge * batch.num_edges

    @classmethod
    def through(cls, full: tuple[BatchSize, float], fewer_edges: tuple[BatchSize, float]) -> Line:
        """Return the line through two batches with as many nodes. What does not depend on edges counts as per node."""
        (batch, seconds), (sparse, sparse_seconds) = full, fewer_edges
        per_edge = max(0.0, seconds - sparse_seconds) / max(batch.num_edges - sparse.num_edges, 1)
        per_edge = min(per_edge, seconds / max(batch.num_edges, 1))
        return cls(0.0, max(0.0, seconds - per_edge * batch.num_edges) / max(batch.num_nodes, 1), per_edge)


class Pass(NamedTuple):
    """Seconds of one pass: those of a layer, and those of everything else."""

    rest: Line
    layer: Line

    def at(self, layers: int, batch: BatchSize) -> float:
        """Return the seconds of so many layers on a batch."""
        return self.rest.at(batch) + layers * self.layer.at(batch)


class Seconds(NamedTuple):
    """Seconds of a run.

    Attributes:
        step: of one training step.
        epoch: of the steps of an epoch, and of cutting the graph for them.
        evaluation: of one evaluation.
        total: of all epochs with their evaluations.
    """

    step: float
    epoch: float
    evaluation: float
    total: float


@dataclass(frozen=True)
class Cost:
    """A model of the seconds of a network's steps, fitted to a probe.

    Attributes:
        step, forward: a training step, and a forward pass of an evaluation, at the width of the probe.
        cut_seconds_per_edge: of cutting a part, for each edge into its nodes; 0 where another processor cuts meanwhile.
        channels: the width of the probe.
        exponent: a layer takes (C / channels)^exponent times as long at another width C; None: not measured.
        spread: how much longer the slowest of equal steps of the probe took than the fastest, as a share of it.
    """

    step: Pass
    forward: Pass
    cut_seconds_per_edge: float
    channels: int
    exponent: float | None
    spread: float

    def of(self, run: RunConfig, data: DataSize) -> Seconds:
        """Return the seconds of a run of the same family with another depth, another number of parts or another width.

        Raises:
            ValueError: for another width, if the probe had only one.
        """
        width = self.of_width(run.model.channels)
        layers = timed_layers(run)
        batch = data.training_batch(run.parts, run.graphs_per_batch)
        steps = math.ceil(data.num_train / run.graphs_per_batch) if data.row == "graph" else run.parts
        step = self.step.at(layers, batch) * width
        epoch = steps * step + self.cutting(data, run.parts)
        evaluation = self._evaluation(run, data, layers) * width
        evaluations = math.ceil(run.epochs / run.evaluation.every)
        return Seconds(step, epoch, evaluation, run.epochs * epoch + evaluations * evaluation)

    def knows(self, run: RunConfig) -> bool:
        """Whether the probe tells the seconds of a run of this width."""
        return self.exponent is not None or run.model.channels == self.channels

    def _evaluation(self, run: RunConfig, data: DataSize, layers: int) -> float:
        parts = run.evaluation.parts
        batch = data.evaluation_batch(parts, run.graphs_per_batch)
        if data.row == "graph":
            return math.ceil(data.num_rows / run.graphs_per_batch) * self.forward.at(layers, batch)
        views = run.evaluation.views if parts > 1 else 1
        return views * (parts * self.forward.at(layers, batch) + self.cutting(data, parts))

    def cutting(self, data: DataSize, parts: int) -> float:
        """Return the seconds of cutting a graph into so many parts."""
        return self.cut_seconds_per_edge * data.num_edges if parts > 1 else 0.0

    def of_width(self, channels: int) -> float:
        """Return how many times as long as at the width of the probe a layer takes.

        Raises:
            ValueError: for another width, if the probe had only one.
        """
        if channels == self.channels:
            return 1.0
        if self.exponent is None:
            raise ValueError(f"the probe had {self.channels} channels only, and {channels} are asked for; probe another width too.")
        return (channels / self.channels) ** self.exponent


def timed_layers(run: RunConfig) -> int:
    """Return the number of layers whose seconds add up; 0 for an equilibrium, whose solves are timed as a whole."""
    model = run.model
    if isinstance(model, EquilibriumConfig):
        return model.depth // 2 if model.gradient is not None else 0
    return stacked_layers(model)


def width_unit(run: RunConfig) -> int:
    """Return the number that divides every possible number of channels."""
    return run.model.groups * int(getattr(run.model.convolution, "heads", 1))
