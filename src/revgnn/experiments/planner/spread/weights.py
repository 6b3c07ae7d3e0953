"""The memory of a step whose weights, gradients and moments are cut over processes (FSDP2), a segment of the stack at a time.

What the step itself needs is rehearsed. What is cut is counted: of weights, gradients and moments a process has its share; the
weights of one segment are whole while it is evaluated, and its gradients while they are summed, from a copy that is sent.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from revgnn.experiments.planner.memory import stacked_layers
from revgnn.experiments.planner.rehearse import Memory, Rehearsed
from revgnn.models.config import StackConfig
from revgnn.train.config import RunConfig


class WeightBytes(NamedTuple):
    """Bytes of weights.

    Attributes:
        total: of the network.
        segment: of the largest piece that is whole at a time: a segment of the stack, or what is outside of it.
        pieces: how many such pieces there are.
    """

    total: float
    segment: float
    pieces: int

    @classmethod
    def of(cls, total: float, layer: float, layers: int, segments: int) -> WeightBytes:
        """Return the bytes of a stack of equal layers in segments.

        Args:
            layer: of a layer; 0 if layers share their weights, which are then whole.
        """
        if layer <= 0.0:
            return cls(total, total, 1)
        rest = max(0.0, total - layers * layer)
        return cls(total, max(rest, -(-layers // segments) * layer), segments + 1)


def cut_weights(found: Rehearsed, weights: WeightBytes, ranks: int) -> Memory:
    """Return the memory of a process, from a step of one process that has all weights."""
    phases = [_cut(memory, weights, ranks, name) for name, memory in found.peaks.items()]
    return max(phases, key=lambda memory: memory.total)


def _cut(memory: Memory, weights: WeightBytes, ranks: int, phase: str) -> Memory:
    if ranks == 1:
        return memory
    is_backward, is_update = "backward" in phase, phase == "update"
    return memory._replace(
        weights=memory.weights / ranks + (0.0 if is_update else weights.segment),
        gradients=memory.gradients / ranks + (2.0 * weights.segment if is_backward else 0.0),
        optimizer=memory.optimizer / ranks,
        buffers=memory.buffers / (ranks if is_update else 1),
    )


def segments(run: RunConfig) -> int:
    """Return the segments of a stack."""
    return getattr(run.model, "segments", 1)


def pieces_of_backward(run: RunConfig) -> int:
    """Return into how many pieces the backward pass of a stack falls, whose gradients are complete together."""
    model = run.model
    if not isinstance(model, StackConfig) or getattr(model, "tied", False):
        return 1
    layers = stacked_layers(model)
    if model.effective_gradient == "backprop":
        return layers
    if model.effective_gradient == "checkpoint":
        return math.ceil(layers / (model.checkpoint_every or max(1, math.isqrt(layers))))
    return min(segments(run), layers)
