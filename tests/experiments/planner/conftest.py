"""Small data sets by their sizes, and what a step on them really needs."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest
import torch

from revgnn.data.catalogue import find_entry
from revgnn.data.generated.synthetic import proteins_shaped
from revgnn.experiments.planner.rehearse import batch_of, session_of
from revgnn.experiments.planner.size import DataSize
from revgnn.memory import PeakMemory
from revgnn.train.batches import Batch
from revgnn.train.config import RunConfig
from revgnn.train.run.session import training_step

CPU = torch.device("cpu")


def proteins(nodes: int, edges: int) -> DataSize:
    """Return the sizes of a small ogbn-proteins: its inputs and its labels."""
    entry = find_entry("ogbn-proteins")
    assert entry is not None
    return replace(DataSize.of_entry(entry), num_nodes=nodes, num_edges=edges, num_rows=nodes, num_train=max(1, nodes // 2))


def run_of(**changes: object) -> RunConfig:
    """Return a small run; keys have __ for a dot."""
    small = {"device": "cpu", "model.depth": 3, "model.channels": 16, "evaluation.parts": 1}
    return RunConfig().replace({**small, **{key.replace("__", "."): value for key, value in changes.items()}})


def measured_peak(run: RunConfig, data: DataSize) -> int:
    """Return the bytes alive at the peak of a training step that is really taken, with weights, moments and batch."""
    size = data.training_batch(run.parts, run.graphs_per_batch)
    graph = proteins_shaped(size.num_nodes, size.num_edges, data.num_edge_features)
    _ = graph.by_source
    batch = batch_of(run, data, size, CPU, graph)
    gc.collect()
    torch.manual_seed(0)
    with PeakMemory() as memory:
        training_step(session_of(run, data, CPU), batch)
    return memory.peak_bytes + _bytes_of(batch)


def _bytes_of(batch: Batch) -> int:
    graph = batch.graph
    tensors = [graph.indptr, graph.src, *graph.by_source, graph.edge_attr, batch.x, batch.species, batch.y, batch.train]
    tensors += [batch.labels, batch.teacher]
    storages = [t.untyped_storage() for t in tensors if t is not None]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


@pytest.fixture
def small() -> DataSize:
    return proteins(200, 2400)
