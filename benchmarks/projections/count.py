"""Bytes and operations of a layer of RevGNN, counted, and the seconds that a device would need for them.

A layer has G blocks on c = C / G channels: norm, ReLU and mask; the maximum over edges; a linear map to 2c channels and back; the
sum. In float32, and with kernels that read and write each tensor once:

- per node, forward: norm 2c, messages' target c with the number of the winner c, MLP 3c, sum 3c: 10c numbers; 8c^2 operations.
- per edge, forward: the row of the source, c numbers, its number, and the features of the edge.
- backward: once more all of it, and gradients, which touch no edge (each maximum has one winner): 20c numbers, 16c^2 operations.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from benchmarks.harness import RESULTS, Spread
from revgnn.experiments.planner.cost import Cost, Line, Pass
from revgnn.experiments.planner.size import BatchSize, DataSize
from revgnn.models.config import GroupsConfig
from revgnn.train.config import RunConfig


class Device(NamedTuple):
    """A device as its maker describes it: bytes and operations a second, and bytes of memory."""

    name: str
    bytes_per_second: float
    flops: float
    memory_bytes: float


H200 = Device("NVIDIA H200", 4.8e12, 67e12, 141e9)
"""Memory bandwidth, float32 outside of tensor cores, and memory, from NVIDIA's data sheet."""


class Count(NamedTuple):
    """What is read and written, and computed."""

    node_bytes: float
    node_flops: float
    edge_bytes: float

    def times(self, factor: float) -> Count:
        """Return so many times as much."""
        return Count(*(factor * each for each in self))

    def line(self, device: Device, factor: float) -> Line:
        """Return the seconds: the longer of moving bytes and of computing, times a factor."""
        node = max(self.node_bytes / device.bytes_per_second, self.node_flops / device.flops)
        return Line(0.0, factor * node, factor * self.edge_bytes / device.bytes_per_second)


def forward_of_layer(run: RunConfig, data: DataSize) -> Count:
    """Return what the forward pass of a layer takes."""
    model = run.model
    assert isinstance(model, GroupsConfig)
    c, blocks = model.channels // model.groups, model.groups
    features = data.edge_bytes * data.num_edge_features
    return Count(40.0 * c, 8.0 * c**2, 4.0 * c + data.index_bytes + features).times(blocks)


def training_of_layer(run: RunConfig, data: DataSize) -> Count:
    """Return what a layer takes in a training step."""
    forward = forward_of_layer(run, data)
    return Count(4.0 * forward.node_bytes, 4.0 * forward.node_flops, 2.0 * forward.edge_bytes)


def outside_of_layers(run: RunConfig, data: DataSize) -> Count:
    """Return what encoder, last norm, head and loss take in a forward pass."""
    c, width = run.model.channels, data.in_channels + data.task.num_outputs
    return Count(4.0 * (width + 8 * c), 2.0 * c * width, 0.0)


def cost_on(device: Device, run: RunConfig, data: DataSize, factor: float) -> Cost:
    """Return the seconds of a network on a device, which takes `factor` times as long as its data sheet says."""
    rest, forward = outside_of_layers(run, data), forward_of_layer(run, data)
    training = training_of_layer(run, data)
    return Cost(
        step=Pass(rest.times(3.0).line(device, factor), training.line(device, factor)),
        forward=Pass(rest.line(device, factor), forward.line(device, factor)),
        cut_seconds_per_edge=0.0,
        channels=run.model.channels,
        exponent=None,
        spread=0.0,
    )


def measured_factors(folder: Path = RESULTS) -> dict[str, float]:
    """Return by how much a step that was measured on an H200 took longer than counted, of each network of the last record.

    Steps were replayed as one CUDA graph, on a batch of the size of a part of ogbn-proteins.
    """
    lines = (folder / "gpu.jsonl").read_text(encoding="utf-8").splitlines()
    record = [r for r in map(json.loads, lines) if r["device"] == H200.name][-1]
    found = {}
    for step in record["steps"]:
        model = {"depth": step["depth"], "channels": step["channels"], "groups": step["groups"]}
        run, data = RunConfig.parse({"model": model}), _proteins(record["nodes"], record["edges"])
        cost = cost_on(H200, run, data, 1.0)
        counted = cost.step.at(step["depth"], BatchSize(record["nodes"], record["edges"], 0, 0))
        seconds = Spread.of(step["seconds"]["revgnn, replayed"]).median
        found["{depth} layers of {channels} channels in {groups} groups".format(**step)] = seconds / counted
    return found


def _proteins(nodes: int, edges: int) -> DataSize:
    from benchmarks.plan import data_size

    return data_size(nodes, edges)
