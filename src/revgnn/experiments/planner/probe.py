"""A few timed steps of a few layers on a device, to which `Cost` is fitted."""

from __future__ import annotations

import gc
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from revgnn.data import NodeDataset, RandomPartition, proteins_shaped
from revgnn.experiments.planner.cost import Cost, Line, Pass, timed_layers, width_unit
from revgnn.experiments.planner.rehearse import batch_of, session_of
from revgnn.experiments.planner.size import BatchSize, DataSize
from revgnn.graph import Graph
from revgnn.models.config import EquilibriumConfig, StackConfig
from revgnn.train.batches import Batch
from revgnn.train.config import RunConfig
from revgnn.train.inference.views import batch_logits
from revgnn.train.random_numbers import own_random_numbers
from revgnn.train.run.session import Session, make_batches, training_step

MOST_EDGES = 2_000_000
MOST_NODES = 200_000
"""Size of a probed batch at most. A larger one is probed smaller, and its seconds are taken to grow with nodes and edges."""

_REPEATS = 4
_SPARSER = 4


class _Timed(NamedTuple):
    """Least seconds of a training step and of a forward pass, and how much longer the slowest step took, as a share."""

    step: float
    forward: float
    spread: float


def probe(
    run: RunConfig, data: DataSize, device: torch.device, dataset: NodeDataset | None = None, *, widths: bool = False
) -> Cost:
    """Time a few steps at two depths and two densities, and fit a model to them. Compiling kernels takes longer than the steps.

    Args:
        dataset: the data set, if it is loaded: its first batch is timed. Otherwise a generated one of the same size.
        widths: time half the width too, so that other widths can be estimated.
    """
    with warnings.catch_warnings(), own_random_numbers(device, run.seed):
        warnings.simplefilter("ignore")  # a solve of a few steps need not converge
        full = _probed_batch(run, data, device, dataset)
        sparse = _sparser(full)
        sizes = tuple(_size_of(batch) for batch in (full, sparse))
        depths = _depths(run)
        timed = _time_all([(_with_depth(run, depth), batch) for depth in depths for batch in (full, sparse)], data, device)
        exponent = _exponent(run, depths, data, device, full, timed) if widths else None
        cut = _cut_seconds_per_edge(full.graph, device)

    def fitted(kind: str) -> Pass:
        low, high = ([getattr(t, kind) for t in timed[i : i + 2]] for i in (0, 2))
        layers = [timed_layers(_with_depth(run, depth)) for depth in depths]
        between = layers[1] - layers[0]
        of_layer = [max(0.0, (b - a) / between) if between else 0.0 for a, b in zip(low, high, strict=True)]
        rest = [max(0.0, a - layers[0] * each) for a, each in zip(low, of_layer, strict=True)]
        return Pass(*(Line.through((sizes[0], at[0]), (sizes[1], at[1])) for at in (rest, of_layer)))

    return Cost(
        step=fitted("step"),
        forward=fitted("forward"),
        cut_seconds_per_edge=cut,
        channels=run.model.channels,
        exponent=exponent,
        spread=max(t.spread for t in timed),
    )


def _depths(run: RunConfig) -> tuple[int, int]:
    """Return two small depths: even, since some networks repeat a pair of layers."""
    extra = run.model.depth - timed_layers(run)
    if isinstance(run.model, EquilibriumConfig):
        return (4, 8) if run.model.gradient is not None else (run.model.depth, run.model.depth)
    return 2 + extra, 6 + extra


def _with_depth(run: RunConfig, depth: int) -> RunConfig:
    changes: dict[str, Any] = {"depth": depth}
    if isinstance(run.model, StackConfig):
        changes["stochastic_depth"] = 0.0  # seconds of a layer are those of one that is evaluated
    if getattr(run.model, "segments", 1) > 1:
        changes["segments"] = 1
    return run.model_copy(update={"model": run.model.model_copy(update=changes), "capture": False})


# --- batches ----------------------------------------------------------------------------------------------------------------------


def _probed_batch(run: RunConfig, data: DataSize, device: torch.device, dataset: NodeDataset | None) -> Batch:
    size = data.training_batch(run.parts, run.graphs_per_batch)
    shrink = max(1.0, size.num_edges / MOST_EDGES, size.num_nodes / MOST_NODES)
    if dataset is not None and shrink == 1.0:
        teacher = None if run.distillation is None else torch.randn(dataset.num_rows, dataset.num_outputs)
        batches = make_batches(run, dataset, device, teacher)
        partition = RandomPartition(dataset.graph, run.parts, run.seed)
        batch = next(b for b in batches.epoch(partition, 0) if b.num_labelled)
        partition.close()
    else:
        batch = _generated(run, data, _shrunk(size, shrink), device)
    _ = batch.graph.by_source
    return batch


def _generated(run: RunConfig, data: DataSize, size: BatchSize, device: torch.device) -> Batch:
    loops = size.num_nodes if data.num_loops else 0
    pairs = max(0, min(size.num_edges - loops, size.num_nodes * (size.num_nodes - 1) // 2)) // 2 * 2
    graph = proteins_shaped(size.num_nodes, pairs, data.num_edge_features, seed=run.seed)
    if loops:
        graph = graph.with_self_loops()
        graph = Graph(graph.indptr, graph.src, validate=False)
    return batch_of(run, data, replace(size, num_edges=graph.num_edges), device, graph.to(device))


def _shrunk(size: BatchSize, shrink: float) -> BatchSize:
    """Return a size with as many edges a node, by a factor smaller."""
    return BatchSize(*(max(1, round(value / shrink)) for value in (size.num_nodes, size.num_edges, size.num_rows, size.num_train)))


def _sparser(batch: Batch) -> Batch:
    """Return the batch with every fourth edge only."""
    graph = batch.graph
    keep = torch.arange(0, graph.num_edges, _SPARSER, device=graph.device)
    position = graph.indptr + (_SPARSER - 1)
    indptr = torch.div(position, _SPARSER, rounding_mode="floor")
    attr = None if graph.edge_attr is None else graph.edge_attr[keep]
    sparse = Graph(indptr, graph.src[keep], attr, edge_scale=graph.edge_scale, validate=False)
    _ = sparse.by_source
    return replace(batch, graph=sparse)


def _size_of(batch: Batch) -> BatchSize:
    return BatchSize(batch.graph.num_nodes, batch.graph.num_edges, len(batch.y), len(batch.train))


# --- timing -----------------------------------------------------------------------------------------------------------------------


def _time_all(works: list[tuple[RunConfig, Batch]], data: DataSize, device: torch.device) -> list[_Timed]:
    """Return the seconds of each run on its batch. Repeats take turns, so that a slow moment affects all alike."""
    calls: list[tuple[Callable[[], object], Callable[[], object]]] = []
    for run, batch in works:
        session = session_of(run, data, device)

        def step(session: Session = session, batch: Batch = batch) -> None:
            training_step(session, batch)

        def forward(session: Session = session, batch: Batch = batch, run: RunConfig = run) -> None:
            session.model.eval()
            with torch.no_grad():
                batch_logits(session.model, batch, run.evaluation, data.task, run.label_reuse)
            session.model.train()

        step()  # compiles kernels
        forward()
        calls.append((step, forward))
    gc.collect()
    seconds: list[tuple[list[float], list[float]]] = [([], []) for _ in calls]
    for _ in range(_REPEATS):
        for pair, into in zip(calls, seconds, strict=True):
            for call, found in zip(pair, into, strict=True):
                found.append(_seconds(call, device))
    return [_timed(*each) for each in seconds]


def _timed(steps: list[float], forwards: list[float]) -> _Timed:
    # The least: other work on the machine only adds, and differences of medians would carry it into the seconds of a layer.
    return _Timed(min(steps), min(forwards), max(steps) / min(steps) - 1.0)


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of a call: the median of several if it is short."""
    found: list[float] = []
    while not found or (sum(found) < 0.1 and len(found) < 20):
        _wait(device)
        start = time.perf_counter()
        call()
        _wait(device)
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _exponent(
    run: RunConfig, depths: tuple[int, int], data: DataSize, device: torch.device, batch: Batch, timed: list[_Timed]
) -> float:
    """Return the power of the width by which a step grows, from a step at half the width."""
    width = half_width(run)
    narrow = _with_depth(run, depths[1]).replace({"model.channels": width})
    (found,) = _time_all([(narrow, batch)], data, device)
    ratio = run.model.channels / width
    return float(np.clip(np.log(timed[2].step / found.step) / np.log(ratio), 0.0, 2.0)) if ratio > 1 else 1.0


def half_width(run: RunConfig) -> int:
    """Return about half the channels of a run, a number that its groups and heads divide."""
    unit = width_unit(run)
    return max(unit, round(run.model.channels / 2 / unit) * unit)


def _cut_seconds_per_edge(graph: Graph, device: torch.device) -> float:
    """Return the seconds of cutting a part, for each edge into its nodes. On a CPU the same cores train; a GPU does not wait."""
    if device.type != "cpu" or graph.num_nodes < 4:
        return 0.0
    with RandomPartition(graph, 2, 0) as partition:
        next(partition.epoch(0))  # compiles
        start = time.perf_counter()
        next(partition.epoch(0))
        return (time.perf_counter() - start) / max(graph.num_edges / 2, 1) / torch.get_num_threads()
