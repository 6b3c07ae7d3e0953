"""A training step and an evaluation of a run, rehearsed: what they would allocate on a device, part by part."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from revgnn.data import NodeDataset
from revgnn.data.tasks import AbstractTask
from revgnn.experiments.measure.step import create_moments
from revgnn.experiments.planner.size import BatchSize, DataSize
from revgnn.graph import Graph
from revgnn.graph.index import BySource
from revgnn.memory import Allocation, Rehearsal
from revgnn.models import build_model, num_parameters
from revgnn.train.batches import Batch
from revgnn.train.config import RunConfig
from revgnn.train.inference.views import batch_logits
from revgnn.train.random_numbers import own_random_numbers
from revgnn.train.run.optimization import LossScaler, build_optimizer
from revgnn.train.run.session import Session, training_step

PHASES = ("forward", "backward", "end of backward", "update")
"""Of a training step. The backward pass is cut in two: what is stored shrinks with each layer, and gradients of weights grow."""


class Memory(NamedTuple):
    """Bytes alive at the peak, by part. On a device they are all there is; `total` is their sum."""

    weights: float = 0.0
    """Weights, and buffers of the network."""
    gradients: float = 0.0
    """Gradients of the weights."""
    optimizer: float = 0.0
    """Moments of the optimiser."""
    graph: float = 0.0
    """The graph of the batch, in both directions, with its edge features."""
    inputs: float = 0.0
    """Features of nodes, labels, teacher's logits."""
    state: float = 0.0
    """What the forward pass keeps: the state, dropout masks, and what the gradient strategy stores of each layer."""
    activations: float = 0.0
    """What one block (checkpointing: the layers between two stored states) needs while it is differentiated or evaluated."""
    buffers: float = 0.0
    """Buffers inside the kernels, and those of the update."""

    @property
    def total(self) -> float:
        """All parts together."""
        return sum(self)


class Traffic(NamedTuple):
    """What a process of several sends in a step, if it is linear in rows of nodes."""

    per_sent_row: float = 0.0
    """Bytes for each of its rows that another process fetches."""
    per_fetched_row: float = 0.0
    """Bytes for each row that it fetches, whose gradient it returns."""
    exchanges: float = 0.0
    """How often all processes exchange something."""
    per_part: float = 0.0
    """Bytes of a part that go from one stage of a pipeline to the next, and as many come back."""
    summed: float = 0.0
    """Bytes that are summed over the processes after the backward pass."""


class Rehearsed(NamedTuple):
    """What a rehearsal found.

    Attributes:
        parameters: numbers that are learned.
        peaks: the parts at the peak of each phase.
        traffic: what was sent, by one process of several.
    """

    parameters: int
    peaks: dict[str, Memory]
    traffic: Traffic = Traffic()

    @property
    def peak(self) -> Memory:
        """The parts at the highest peak."""
        return max(self.peaks.values(), key=lambda memory: memory.total)


def rehearse_step(run: RunConfig, data: DataSize, device: torch.device) -> Rehearsed:
    """Rehearse a training step at the depth of the run, layer by layer.

    Nothing of the size of the data or of the weights is allocated, and no kernel is compiled or run.
    """
    size = data.training_batch(run.parts, run.graphs_per_batch)
    with new_rehearsal(device) as rehearsal:
        session = session_of(run, data, device, rehearsal.label)
        batch = rehearsed_batch(rehearsal, run, data, size, device)
        begin = rehearsal.time
        training_step(session, batch)
        for parameter in session.model.parameters():
            if parameter.grad is not None:
                rehearsal.set_label(parameter.grad, "gradients")
        end, parameters = rehearsal.time, num_parameters(session.model)
    return Rehearsed(parameters, dict(peaks_of_step(rehearsal, begin, end)))


def rehearse_evaluation(run: RunConfig, data: DataSize, device: torch.device) -> Rehearsed:
    """Rehearse one forward pass of an evaluation after a training step: gradients and moments are still there."""
    size = data.evaluation_batch(run.evaluation.parts, run.graphs_per_batch)
    with new_rehearsal(device) as rehearsal:
        session = session_of(run, data, device, rehearsal.label)
        with rehearsal.label("gradients"):
            for parameter in session.model.parameters():
                parameter.grad = torch.zeros_like(parameter)
        batch = rehearsed_batch(rehearsal, run, data, size, device)
        begin = rehearsal.time
        session.model.eval()
        with torch.no_grad():
            batch_logits(session.model, batch, run.evaluation, data.task, run.label_reuse)
        end, parameters = rehearsal.time, num_parameters(session.model)
    time = _highest(rehearsal.live_bytes(), begin, end)
    return Rehearsed(parameters, {"evaluation": _parts(rehearsal.alive_at(time), end, is_backward=False)})


@contextmanager
def new_rehearsal(device: torch.device) -> Iterator[Rehearsal]:
    """Yield a rehearsal on a device, without warnings, that draws from generators of its own."""
    with warnings.catch_warnings(), own_random_numbers(device), Rehearsal(device, is_kernel) as rehearsal:
        warnings.simplefilter("ignore")  # solves that do not converge, since nothing is computed
        yield rehearsal


def is_kernel(path: str) -> bool:
    """Whether a source file is part of the kernels of an operator."""
    return f"{os.sep}ops{os.sep}" in path and any(f"{os.sep}{name}" in path for name in ("cpu", "gpu"))


Label = Callable[[str], AbstractContextManager[Any]]


def _no_label(label: str) -> AbstractContextManager[Any]:
    return nullcontext()


class _Data(NamedTuple):
    """What a training step asks a data set for."""

    objective: AbstractTask


def session_of(run: RunConfig, data: DataSize, device: torch.device, label: Label = _no_label) -> Session:
    """Return a new network with its optimiser, whose moments exist, and what else `training_step` uses; without a data set.

    Args:
        label: makes a context for what is allocated under a name.
    """
    with label("weights"), torch.device(device):
        model = build_model(
            run.model,
            in_channels=data.in_channels + (data.task.label_width if run.label_inputs else 0),
            out_channels=data.task.num_outputs,
            num_edge_features=data.num_edge_features,
            num_species=data.num_species,
            rows=data.row,
        ).train()
    optimizer = build_optimizer(run.optim, model)
    with label("optimizer"):
        create_moments(optimizer)
    return Session(
        config=run,
        dataset=cast(NodeDataset, _Data(data.task)),
        device=device,
        batches=cast(Any, None),
        partition=cast(Any, None),
        model=model,
        optimizer=optimizer,
        scaler=LossScaler(device, run.amp),
        fingerprint={},
        class_weights=_class_weights(run, data, device),
    )


def _class_weights(run: RunConfig, data: DataSize, device: torch.device) -> Tensor | None:
    if run.class_weights is None:
        return None
    outputs = data.task.num_outputs
    return torch.ones(outputs if data.task.name == "multiclass" else (outputs, 2), device=device)


def rehearsed_batch(rehearsal: Rehearsal, run: RunConfig, data: DataSize, size: BatchSize, device: torch.device) -> Batch:
    """Return a batch of this size without memory. Its graph has the form by source too, as after the first step."""
    index = torch.int32 if data.index_bytes == 4 else torch.int64
    nodes, edges = size.num_nodes, size.num_edges
    with rehearsal.label("graph"), torch.device(device):
        attr = None
        if data.num_edge_features:
            attr = torch.empty(edges, data.num_edge_features, dtype=torch.float32 if data.edge_bytes == 4 else torch.float16)
        graph = Graph(torch.empty(nodes + 1, dtype=torch.int64), torch.empty(edges, dtype=index), attr, validate=False)
        graph._by_source = BySource(
            torch.empty(nodes + 1, dtype=torch.int64), torch.empty(edges, dtype=index), torch.empty(edges, dtype=index)
        )
    with rehearsal.label("inputs"):
        return batch_of(run, data, size, device, graph)


def batch_of(run: RunConfig, data: DataSize, size: BatchSize, device: torch.device, graph: Graph) -> Batch:
    """Return a batch of this size on a graph, with random inputs; all labels are 0."""
    nodes, rows = size.num_nodes, size.num_rows
    with torch.device(device):
        targets = {}
        if data.row == "graph":
            targets["targets"] = torch.arange(rows + 1) * nodes // rows
        elif data.row == "pair":
            targets["targets"] = torch.randint(nodes, (2, rows))
        return Batch(
            nodes=None,
            graph=graph,
            x=torch.rand(nodes, data.in_channels) if data.in_channels else None,
            species=torch.randint(data.num_species, (nodes,)) if data.num_species else None,
            y=data.task.encode(data.task.no_labels(rows).nan_to_num(0.0).clamp(min=0)).to(device),
            train=torch.arange(size.num_train),
            num_labelled=size.num_train,
            labels=torch.rand(nodes, data.task.label_width) if run.label_inputs else None,
            teacher=torch.rand(rows, data.task.num_outputs) if run.distillation is not None else None,
            targets=targets,
        )


def peaks_of_step(rehearsal: Rehearsal, begin: int, end: int) -> Iterable[tuple[str, Memory]]:
    """Yield the parts at the peak of each of `PHASES`."""
    live = rehearsal.live_bytes()
    backward = [a.born for a in rehearsal.allocations if a.backward and begin <= a.born < end] or [end]
    bounds = [begin, backward[0], (backward[0] + backward[-1]) // 2, backward[-1], end]
    for phase, start, stop in zip(PHASES, bounds[:-1], bounds[1:], strict=True):
        yield phase, _parts(rehearsal.alive_at(_highest(live, start, stop)), backward[0], is_backward="backward" in phase)


def _highest(live: list[int], start: int, stop: int) -> int:
    """Return when most bytes were alive between two times."""
    return max(range(start, min(max(stop, start + 1), len(live))), key=live.__getitem__, default=len(live) - 1)


def _parts(alive: Iterable[Allocation], forward_end: int, *, is_backward: bool) -> Memory:
    parts = dict.fromkeys(Memory._fields, 0.0)
    for each in alive:
        if each.label:
            part = each.label
        elif each.buffer:
            part = "buffers"
        elif is_backward:
            part = "activations" if each.backward else "state"
        else:
            part = "state" if each.born < forward_end and (each.died is None or each.died > forward_end) else "activations"
        parts[part] += each.nbytes
    return Memory(**parts)
