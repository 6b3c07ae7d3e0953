"""Training steps on a GPU: beside PyTorch Geometric's, of the paper's largest networks, and replayed as a CUDA graph."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from benchmarks import harness
from benchmarks.networks import Batch, Shape, loss, pyg_logits, pyg_model, revgnn_logits, revgnn_model, training_step
from benchmarks.peers.pyg import Variant
from revgnn import CapturedStep
from revgnn.data.generated.synthetic import proteins_shaped

T = TypeVar("T")
SHAPES = (Shape(64, 2, 7), Shape(224, 4, 3))
"""Shapes that are measured beside PyTorch Geometric's."""
MODELS = {"RevGNN-Deep": (Shape(80, 2, 1001), 0.1), "RevGNN-Wide": (Shape(224, 2, 448), 0.2)}
"""Shape and dropout of the paper's largest networks."""
CAPTURED = {"RevGNN-64, 112 layers": (Shape(64, 2, 112), 0.1), "RevGNN-Deep": MODELS["RevGNN-Deep"]}
"""Shape and dropout of the networks whose steps are replayed."""
PARTS = 10
"""Training batches of an epoch on ogbn-proteins."""


def attempt(name: str, measure: Callable[[], T]) -> T | dict[str, str]:
    """Return what `measure` returns. If it fails, print the error and return it, so that the other parts are still measured."""
    try:
        return measure()
    except Exception as error:
        message = " ".join(f"{type(error).__name__}: {error}".split())
        print(f"{name}: not measured: {message}", file=sys.stderr)
        return {"model": name, "failed": message[:2000]}


def batch_on(device: torch.device) -> Batch:
    """Return one of ten parts of a graph of ogbn-proteins' shape, on the device, with the by-source form of the graph."""
    batch = Batch.on(proteins_shaped())
    assert batch.graph.by_source.dst.numel()
    graph = batch.graph.to(device)
    return batch._replace(graph=graph, **{n: getattr(batch, n).to(device) for n in batch._fields if n != "graph"})


def model_on(device: torch.device, shape: Shape, batch: Batch, **changes: Any) -> nn.Module:
    """Return revgnn's network on the device, in training mode."""
    return revgnn_model(shape, batch.graph, **changes).to(device).train()


def measure_steps(batch: Batch, device: torch.device, repeats: int) -> list[dict[str, Any]]:
    """Measure a training step of each of `SHAPES`, launched and replayed, beside PyTorch Geometric's, in turns."""
    found = []
    for shape in SHAPES:
        sizes = {"channels": shape.channels, "groups": shape.groups, "depth": shape.depth}
        peer = pyg_model(shape, batch.graph, Variant("shared")).to(device).train()
        model = model_on(device, shape, batch)
        contestants = {
            "revgnn": training_step(model, revgnn_logits, batch),
            "PyG": training_step(peer, pyg_logits, batch),
        }
        for work in contestants.values():  # compiles the kernels, and fills the allocator's cache
            work()
            work()
        peak = harness.peak_memory(contestants, device)
        contestants["revgnn, replayed"] = replayed = CapturedStep(differentiation(model, batch), model)
        _, peak["revgnn, replayed"] = record(replayed, device)
        seconds = harness.interleaved(contestants, repeats, device)
        gains = {name: harness.ratios(seconds["PyG"], seconds[name]) for name in seconds if name != "PyG"}
        speed_up = {name: gain._asdict() for name, gain in gains.items()}
        found.append({**sizes, "seconds": seconds, "peak_bytes": peak, "speed_up": speed_up})
        for name in contestants:
            print(f"{sizes}: {name}: {harness.Spread.of(seconds[name]).text()} s, {harness.megabytes(peak[name])}")
        for name, gain in gains.items():
            print(f"{sizes}: {name} is faster than PyG by {gain.text()}")
    return found


def measure_epochs(batch: Batch, device: torch.device, limit: float) -> list[dict[str, Any]]:
    """Measure up to 3 steps of each of `MODELS`, for at most `limit` seconds each, and extrapolate an epoch of 10 parts.

    The extrapolation leaves out partitioning, transfers and the optimiser.
    """
    found = []
    for name, (shape, dropout) in MODELS.items():
        work = training_step(model_on(device, shape, batch, dropout=dropout), revgnn_logits, batch)
        work()
        peak = harness.peak_memory({name: work}, device)[name]
        seconds, start = [], time.perf_counter()
        while len(seconds) < 3 and time.perf_counter() - start < limit:
            seconds += harness.interleaved({name: work}, 1, device)[name]
        epoch = harness.Spread.of([PARTS * s for s in seconds])
        found.append(
            {
                "model": name,
                "steps": len(seconds),
                "seconds": seconds,
                "extrapolated_epoch_seconds": epoch._asdict(),
                "peak_bytes": peak,
            }
        )
        print(f"{name}: {epoch.text()} s an epoch, extrapolated from {len(seconds)} steps; {harness.megabytes(peak)}")
    return found


def measure_captured(batch: Batch, device: torch.device, limit: float) -> list[dict[str, Any]]:
    """Measure a step of each of `CAPTURED` replayed as one CUDA graph, beside the same step launched kernel by kernel."""
    return [
        attempt(name, lambda name=name, shape=shape, dropout=dropout: captured(name, shape, dropout, batch, device, limit))
        for name, (shape, dropout) in CAPTURED.items()
    ]


def captured(name: str, shape: Shape, dropout: float, batch: Batch, device: torch.device, limit: float) -> dict[str, Any]:
    """Measure one network: up to 10 rounds, for at most `limit` seconds.

    Raises:
        AssertionError: if a replay gives other gradients than the step that was captured.
    """
    model = model_on(device, shape, batch, dropout=dropout)
    launched = training_step(model, revgnn_logits, batch)
    replayed = CapturedStep(differentiation(model, batch), model)
    recording_seconds, pool_bytes = record(replayed, device)
    check_replay(model, launched, replayed)
    contestants, start = {"launched": launched, "replayed": replayed}, time.perf_counter()
    peak = harness.peak_memory({"launched": launched}, device)["launched"]
    seconds: dict[str, list[float]] = {key: [] for key in contestants}
    while len(seconds["launched"]) < 10 and time.perf_counter() - start < limit:
        for key, more in harness.interleaved(contestants, 1, device).items():
            seconds[key] += more
    gain = harness.ratios(seconds["launched"], seconds["replayed"])
    for key in contestants:
        print(f"{name}: {key}: {harness.Spread.of(seconds[key]).text()} s")
    print(
        f"{name}: replayed is faster by {gain.text()}; recorded in {recording_seconds:.3g} s, "
        f"{harness.megabytes(pool_bytes)} for the graph"
    )
    return {
        "model": name,
        "seconds": seconds,
        "speed_up": gain._asdict(),
        "recording_seconds": recording_seconds,
        "launched_peak_bytes": peak,
        "pool_bytes": pool_bytes,
    }


def differentiation(model: nn.Module, batch: Batch) -> Callable[[], Tensor]:
    """Return a step as `CapturedStep` takes it: forward pass, loss and backward pass."""

    def differentiate() -> Tensor:
        value = loss(revgnn_logits(model, batch), batch)
        value.backward()
        return value

    return differentiate


def record(replayed: CapturedStep, device: torch.device) -> tuple[float, int]:
    """Warm up and record a step. Return the seconds of the call that records it and replays it once, and the graph's memory."""
    for _ in range(3):
        replayed()
    on_gpu = device.type == "cuda"
    harness.synchronize(device)
    if on_gpu:
        torch.cuda.empty_cache()
    before, start = torch.cuda.memory_reserved() if on_gpu else 0, time.perf_counter()
    replayed()
    harness.synchronize(device)
    return time.perf_counter() - start, (torch.cuda.memory_reserved() if on_gpu else 0) - before


def check_replay(model: nn.Module, launched: Callable[[], object], replayed: Callable[[], object]) -> None:
    """Check that a replay gives the gradients of the step that was captured."""
    gradients = []
    for work in (launched, replayed):
        torch.manual_seed(0)  # the same dropout mask
        work()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    if not all(torch.equal(a, b) for a, b in zip(*gradients, strict=True)):
        raise AssertionError("a replay has other gradients than the step it was recorded from; nothing is timed")
