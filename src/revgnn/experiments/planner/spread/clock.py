"""Seconds of a step of several processes, by what they are spent on.

Seconds of computing come from the probe (`Cost`), bytes from rehearsals and from the sizes of the network. What processes wait for
one another is arithmetic.
"""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist
from typing import NamedTuple

from revgnn.experiments.planner.cost import Cost, timed_layers
from revgnn.experiments.planner.size import BatchSize
from revgnn.experiments.planner.spread.job import Link
from revgnn.train.config import RunConfig


class Where(NamedTuple):
    """What the seconds of a step are spent on, the mean over the processes. They add up to the step.

    Attributes:
        compute: computing.
        exchange: waiting for bytes that do not travel behind computing.
        bubble: waiting for a pipeline to fill and to drain.
        waiting: waiting for processes that have more to compute.
    """

    compute: float
    exchange: float
    bubble: float
    waiting: float

    @property
    def step(self) -> float:
        """Seconds of a step."""
        return sum(self)


class Work(NamedTuple):
    """What a process computes for one part, or for its share of the graph.

    Attributes:
        layer, backward: seconds of a layer in a training step, and of its backward pass alone.
        rest: of everything else.
        layers: how many of them.
        per_edge: seconds for each edge, in all layers.
    """

    layer: float
    backward: float
    rest: float
    layers: int
    per_edge: float

    @property
    def total(self) -> float:
        """Seconds of all layers, and of the rest."""
        return self.rest + self.layers * self.layer

    @classmethod
    def of(cls, cost: Cost, run: RunConfig, batch: BatchSize, rows: int | None = None) -> Work:
        """Return the work on a batch.

        Args:
            rows: nodes that layers are evaluated for, if they are more than those of the batch: rows of other processes.
        """
        layers, width = timed_layers(run), cost.of_width(run.model.channels)
        inside = batch if rows is None else replace(batch, num_nodes=rows)
        layer = cost.step.layer.at(inside) * width
        forward = min(layer, cost.forward.layer.at(inside) * width)
        per_edge = cost.step.rest.per_edge + layers * cost.step.layer.per_edge
        return cls(layer, layer - forward, cost.step.rest.at(batch) * width, layers, per_edge * width)


def all_reduce_seconds(link: Link, nbytes: float, ranks: int) -> float:
    """Return the seconds of a sum over processes by a ring, in which each sends 2 (K - 1) / K of the bytes."""
    return link.seconds(2.0 * (ranks - 1) / ranks * nbytes, 2 * (ranks - 1))


def scatter_seconds(link: Link, nbytes: float, ranks: int) -> float:
    """Return the seconds of an all-gather or of a reduce-scatter of so many bytes, which is half a sum."""
    return link.seconds((ranks - 1) / ranks * nbytes, ranks - 1)


def expected_largest(count: int) -> float:
    """Return the expected largest of so many standard normal numbers, by Blom's approximation; 0 of one."""
    return NormalDist().inv_cdf((count - 0.375) / (count + 0.25)) if count > 1 else 0.0


def left_over(pieces: list[tuple[float, float]], seconds_of: list[tuple[float, float]]) -> float:
    """Return by how much messages end after the backward pass, in which they become ready.

    Args:
        pieces: seconds and bytes of gradients of each piece of the network, in the order of the backward pass.
        seconds_of: bytes and seconds of each message, in the order in which they are sent.
    """
    ready, done, end, sent = 0.0, 0.0, 0.0, 0.0
    queue = list(pieces)
    for nbytes, seconds in seconds_of:
        sent += nbytes
        while queue and done < sent - 1e-6:
            piece, gradients = queue.pop(0)
            ready, done = ready + piece, done + gradients
        end = max(end, ready) + seconds
    return max(0.0, end - ready - sum(piece for piece, _ in queue))


# --- ways of spreading ------------------------------------------------------------------------------------------------------------


class StepParts(NamedTuple):
    """The parts of a step.

    Attributes:
        count: in all processes together.
        deviation: standard deviation of the edges of one.
    """

    count: int
    deviation: float


def waiting_for_parts(work: Work, parts: StepParts, ranks: int) -> tuple[float, float]:
    """Return the mean seconds of computing of a process, and those that it waits for the one with most to do."""
    most = math.ceil(parts.count / ranks)
    busy = min(ranks, parts.count)
    uneven = expected_largest(busy) * math.sqrt(most) * parts.deviation * work.per_edge
    compute = parts.count / ranks * work.total
    return compute, most * work.total - compute + uneven


def by_parts(work: Work, parts: StepParts, ranks: int, link: Link, gradients: Gradients) -> Where:
    """Return where the time goes if processes share the parts of a step and sum their gradients in buckets."""
    compute, waiting = waiting_for_parts(work, parts, ranks)
    exchange = 0.0
    if ranks > 1:
        sizes = gradients.buckets()
        exchange = left_over(gradients.pieces(work), [(size, all_reduce_seconds(link, size, ranks)) for size in sizes])
        exchange += all_reduce_seconds(link, 0.0, ranks)  # of losses and flags
    return Where(compute, exchange, 0.0, waiting)


class Gradients(NamedTuple):
    """Gradients of weights, and when they are complete.

    Attributes:
        total, outside: bytes in all, and of what is not in the stack.
        segments: pieces of the stack; the gradients of a piece are complete together.
        bucket: bytes that are sent at once.
    """

    total: float
    outside: float
    segments: int
    bucket: float

    def buckets(self) -> list[float]:
        """Return the bytes of each bucket, in the order in which they are sent."""
        full = int(self.total // self.bucket)
        return [self.bucket] * full + ([rest] if (rest := self.total - full * self.bucket) > 0 else [])

    def pieces(self, work: Work) -> list[tuple[float, float]]:
        """Return seconds and bytes of the segments as the backward pass reaches them, and of the encoder at last."""
        of_segment = (work.layers * work.backward / self.segments, (self.total - self.outside) / self.segments)
        return [*[of_segment] * self.segments, (0.0, self.outside)]


def by_graph(works: list[Work], sent: float, exchanges: float, gradients: float, link: Link) -> Where:
    """Return where the time goes if processes share a graph: each exchange waits for all.

    Args:
        sent: bytes of rows that the process with most of them sends, or receives, in a step.
        exchanges: in a step.
        gradients: bytes of gradients, which are summed after the backward pass.
    """
    ranks, seconds = len(works), [work.total for work in works]
    compute = sum(seconds) / ranks
    exchange = link.seconds(sent, exchanges) + all_reduce_seconds(link, gradients, ranks) if ranks > 1 else 0.0
    return Where(compute, exchange, 0.0, max(0.0, max(seconds) - compute))


def by_layers(work: Work, parts: StepParts, stages: list[int], state: float, link: Link) -> Where:
    """Return where the time goes in a pipeline with one forward and one backward pass in turns (1F1B).

    Half of what is not in layers counts for the first stage, half for the last.

    Args:
        stages: layers of each stage.
        state: bytes of the state of a part, which travels between stages, as does its gradient.
    """
    ranks, count = len(stages), parts.count
    seconds = [layers * work.layer for layers in stages]
    seconds[0] += work.rest / 2
    seconds[-1] += work.rest / 2
    slowest, mean = max(seconds), sum(seconds) / ranks
    message = link.seconds(state) if ranks > 1 else 0.0
    exchange = 2 * (ranks - 1) * message + (count - 1) * max(0.0, message - slowest)
    return Where(count * mean, exchange, sum(seconds) - slowest, max(0.0, count * (slowest - mean)))


class Cut(NamedTuple):
    """Weights that are cut.

    Attributes:
        piece: bytes of a piece of the network, of which one is whole at a time.
        pieces: how many there are.
        everywhere: bytes of those that all processes hold, whose gradients are summed at last.
        sums_whole: gradients are summed in all processes, of which each keeps its share, as gloo does; else only shares travel.
    """

    piece: float
    pieces: int
    everywhere: float
    sums_whole: bool

    def sent(self, ranks: int, parts: int) -> float:
        """Return the bytes that a process sends for so many parts of its own: gathered twice, gradients summed once."""
        times = 4.0 if self.sums_whole else 3.0
        return (ranks - 1) / ranks * (times * parts * self.pieces * self.piece + 2.0 * self.everywhere)


def by_weights(work: Work, parts: StepParts, ranks: int, link: Link, cut: Cut) -> Where:
    """Return where the time goes if weights are cut: gathered before each piece, forward and backward, and one at a time.

    Gradients of a piece are summed while the one before is differentiated.
    """
    compute, waiting = waiting_for_parts(work, parts, ranks)
    if ranks == 1:
        return Where(compute, 0.0, 0.0, waiting)
    gathering = scatter_seconds(link, cut.piece, ranks)
    summing = all_reduce_seconds(link, cut.piece, ranks) if cut.sums_whole else gathering
    of_piece = (work.layers * work.backward / cut.pieces, cut.piece)
    exposed = 2 * cut.pieces * gathering + left_over([of_piece] * cut.pieces, [(cut.piece, summing)] * cut.pieces)
    exchange = math.ceil(parts.count / ranks) * exposed + all_reduce_seconds(link, cut.everywhere, ranks)
    return Where(compute, exchange, 0.0, waiting)
