"""The memory of a step whose weights, gradients and moments are cut over processes (FSDP2), a piece of the stack at a time.

What the step itself needs is rehearsed. What is cut is counted, by the rules of `revgnn.distributed.weights`: of the matrices of
the stack, with their gradients and moments, a process has a share of their rows. The matrices of one piece are whole while it is
evaluated, and its gradients while they are summed, from a copy that is sent.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import nn

from revgnn.distributed.weights.mode import balanced_segments
from revgnn.distributed.weights.shard import is_worth_cutting, outside_of
from revgnn.experiments.planner.memory import DEPTHS, stacked_layers
from revgnn.experiments.planner.rehearse import Memory, Rehearsed
from revgnn.experiments.planner.size import BatchSize, DataSize
from revgnn.experiments.planner.spread.spread_plan import Refused
from revgnn.models import build_model
from revgnn.models.config import StackConfig
from revgnn.stack import Stack
from revgnn.train.config import RunConfig
from revgnn.train.random_numbers import own_random_numbers


class WeightBytes(NamedTuple):
    """Bytes of weights.

    Attributes:
        everywhere: of those that all processes hold: vectors, and what is outside of the stack.
        cut: of those that are cut, as one process holds them.
        padded: likewise, with rows that make the shares equally large: what is gathered and sent.
        pieces: of the stack, of which one is whole at a time.
        piece: padded bytes of the largest.
    """

    everywhere: float
    cut: float
    padded: float
    pieces: int
    piece: float

    def held(self, ranks: int) -> float:
        """Return the bytes that a process holds."""
        return self.everywhere + self.padded / ranks


class StackWeights:
    """The weights of a network with a stack, known from a shallow network like it.

    Raises:
        Refused: if it has no stack.
    """

    def __init__(self, run: RunConfig, data: DataSize) -> None:
        model = run.model
        layers = stacked_layers(model) if isinstance(model, StackConfig) else 0
        if not isinstance(model, StackConfig) or layers < 1:
            raise Refused("only the weights of a stack of layers are cut, and this network has none.")
        extra = model.depth - layers
        changes = {"depth": min(layers, DEPTHS[0]) + extra, **({"segments": 1} if getattr(model, "segments", 1) > 1 else {})}
        with torch.device("meta"), own_random_numbers(torch.device("cpu")):
            network = build_model(
                model.model_copy(update=changes),
                in_channels=data.in_channels + (data.task.label_width if run.label_inputs else 0),
                out_channels=data.task.num_outputs,
                num_edge_features=data.num_edge_features,
                num_species=data.num_species,
                rows=data.row,
            )
        stack = next(m for m in network.modules() if isinstance(m, Stack))
        self._outside = dict.fromkeys(outside_of(network, stack))
        self._is_tied = len(set(stack.layers)) < len(stack.sequence)
        counted: list[nn.Module] = list(dict.fromkeys(stack.layers)) if self._is_tied else [stack.layers[-1]]
        self._inside = [p for p in dict.fromkeys(p for m in counted for p in m.parameters()) if p not in self._outside]
        self.layers, self._times = layers, 1 if self._is_tied else layers

    def segments(self, run: RunConfig, size: BatchSize) -> int:
        """Return the pieces that the stack is cut into if its weights are, as `choose_segments` and `spans_of` choose them."""
        model = run.model
        assert isinstance(model, StackConfig)
        match model.effective_gradient:
            case "checkpoint":
                return math.ceil(self.layers / (model.checkpoint_every or max(1, math.isqrt(self.layers))))
            case "backprop":
                return max(1, math.isqrt(self.layers))
        segments = min(getattr(model, "segments", 1), self.layers)
        if segments > 1 or self._is_tied:
            return segments
        numbers = self._times * sum(p.numel() for p in self._inside)
        return balanced_segments(self.layers, numbers, size.num_nodes * model.channels)

    def over(self, ranks: int, segments: int) -> WeightBytes:
        """Return the bytes of weights that are cut over so many processes, in so many pieces."""
        cut = [p for p in self._inside if is_worth_cutting(p, ranks)]
        padded = self._times * sum(float(p.nbytes) * math.ceil(p.shape[0] / ranks) * ranks / p.shape[0] for p in cut)
        bytes_cut = float(self._times * sum(p.nbytes for p in cut))
        everywhere = self._times * sum(p.nbytes for p in self._inside) - bytes_cut + sum(p.nbytes for p in self._outside)
        pieces = 1 if self._is_tied else segments
        largest = padded if self._is_tied else padded * math.ceil(self.layers / pieces) / self.layers
        return WeightBytes(everywhere, bytes_cut, padded, pieces, largest)

    def most_ranks(self) -> int:
        """Return the number of processes with which each holds least: matrices with fewer rows than processes are not cut."""
        rows = {p.shape[0] for p in self._inside if is_worth_cutting(p, 1)}
        return min(sorted(rows), key=lambda ranks: self.over(ranks, 1).held(ranks), default=1)


def in_pieces(run: RunConfig, segments: int) -> RunConfig:
    """Return a run whose reversible stack stores its state between so many segments; others store it where they did."""
    model = run.model
    if not isinstance(model, StackConfig) or model.effective_gradient != "reversible":
        return run
    return run.model_copy(update={"model": model.model_copy(update={"segments": segments})})


def cut_weights(found: Rehearsed, weights: WeightBytes, ranks: int) -> Memory:
    """Return the memory of a process, from a step of one process that has all weights."""
    phases = [_cut(memory, weights, ranks, name) for name, memory in found.peaks.items()]
    return max(phases, key=lambda memory: memory.total)


def _cut(memory: Memory, weights: WeightBytes, ranks: int, phase: str) -> Memory:
    if ranks == 1:
        return memory
    is_backward, is_update = "backward" in phase, phase == "update"
    share = weights.held(ranks) / (weights.everywhere + weights.cut)
    return memory._replace(
        weights=memory.weights - weights.cut + weights.padded / ranks + (0.0 if is_update else weights.piece),
        gradients=memory.gradients * share + (2.0 * weights.piece if is_backward else 0.0),
        optimizer=memory.optimizer * share,
        buffers=memory.buffers * (share if is_update else 1.0),
    )


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
    return min(getattr(model, "segments", 1), layers)
