"""Layers cut over processes, beside one process that accumulates the same parts: memory and seconds of a step, and the bubble."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from benchmarks import harness
from benchmarks.ranks.exchanges import IN_EXCHANGES, ExchangeClock, waiting
from revgnn.distributed import ModeOptions, Ranks, make_spread
from revgnn.memory import PeakMemory
from revgnn.train import RunConfig
from revgnn.train.run.session import Session, prepare
from revgnn.train.run.spread import Spread
from revgnn.train.run.team import ALONE

JOBS = {"1 process": (1, 1), "2 processes": (2, 1), "2 processes, 2 pieces each": (2, 2), "3 processes": (3, 1)}
"""Processes of one thread, and pieces of the stack in each."""

Launch = Callable[[int, Mapping[str, Any]], list[dict[str, Any]]]
"""Runs a job of so many processes and returns what each measures."""


def layers(team: Ranks, shape: Mapping[str, Any], clock: ExchangeClock) -> dict[str, Any]:
    """Take steps of a run whose layers are cut over the processes. The first compiles kernels; memory is measured in the second."""
    model = {"family": "reversible", "depth": shape["depth"], "channels": shape["channels"]}
    config = RunConfig.parse(
        {
            "data": {"name": f"synthetic:nodes={shape['nodes']},degree={shape['degree']},tasks=3"},
            "model": model,
            "parts": shape["parts"],
            "parts_per_step": shape["parts"],
            "device": "cpu",
        }
    )
    session = prepare(config)
    spread = Spread() if team.size == 1 else make_spread("layers", ModeOptions(pieces=shape["pieces"]))
    spread.begin(session, ALONE if team.size == 1 else team)
    session.model.train()
    seconds, waited, peak = [], [], 0
    for epoch in range(1, shape["steps"] + 3):
        team.sum(torch.zeros(1))
        clock.restart()
        start = time.perf_counter()
        if epoch == 2:
            with PeakMemory(session.device) as memory:
                _step(spread, session, epoch)
            peak = memory.peak_bytes
        else:
            _step(spread, session, epoch)
        if epoch > 2:
            seconds.append(time.perf_counter() - start)
            waited.append(clock.seconds)
    return {"seconds": seconds, "exchange_seconds": waited, "peak_bytes": peak, "held_bytes": _held(session)}


def _step(spread: Spread, session: Session, epoch: int) -> None:
    for _ in spread.steps(session, epoch, 0):
        pass


def _held(session: Session) -> int:
    """Return the bytes of weights, gradients and moments of the optimiser in this process."""
    held = [*session.model.parameters(), *(p.grad for p in session.model.parameters() if p.grad is not None)]
    held += [tensor for moments in session.optimizer.state.values() for tensor in moments.values()]
    return sum(tensor.numel() * tensor.element_size() for tensor in held)


def measure_layers(args: argparse.Namespace, result: harness.Result, launch: Launch) -> None:
    """Measure a step of each job."""
    shape = {"nodes": args.layers_nodes, "degree": 12, "depth": args.layers_depth, "channels": args.layers_channels}
    shape |= {"parts": args.layers_parts, "steps": args.steps}
    found = {job: launch(size, {**shape, "pieces": pieces}) for job, (size, pieces) in JOBS.items()}
    result["layers"] = {**shape, "jobs": found}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this mode."""
    parser.add_argument("--layers-nodes", type=int, default=8_000, help="nodes of the graph whose parts pass through the layers")
    parser.add_argument("--layers-parts", type=int, default=8, help="parts of a step")
    parser.add_argument("--layers-depth", type=int, default=24)
    parser.add_argument("--layers-channels", type=int, default=256)


def show_layers(result: Mapping[str, Any]) -> list[str]:
    """Return the table: largest of the processes of a job."""
    from revgnn.distributed.pipeline.schedule import bubble

    parts, rows = result["parts"], []
    alone = min(result["jobs"]["1 process"][0]["seconds"])
    for job, found in result["jobs"].items():
        size, pieces = JOBS[job]
        seconds = max(min(process["seconds"]) for process in found)
        rows.append(
            [
                job,
                harness.megabytes(max(process["held_bytes"] for process in found)),
                harness.megabytes(max(process["peak_bytes"] for process in found)),
                f"{seconds:.3g}",
                f"{bubble(size, parts * pieces):.0%}",
                f"{1 - alone / (size * seconds):.0%}",
                waiting(found),
            ]
        )
    head = [
        "",
        "weights, gradients, moments",
        "peak of tensors in a step",
        "s a step",
        "bubble",
        "not used of processes x time",
        IN_EXCHANGES,
    ]
    sizes = "{depth} layers of {channels} channels, a graph of {nodes:,} nodes in {parts} parts, all in one step".format(**result)
    return [f"\nLayers cut over processes, {sizes}; largest of a process:", harness.table(head, rows)]
