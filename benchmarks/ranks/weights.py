"""Weights cut over processes: bytes that a process holds, the peak of a step, and its seconds."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import harness
from benchmarks.ranks.exchanges import IN_EXCHANGES, ExchangeClock, waiting
from revgnn.data.generated.full_size import full_size
from revgnn.distributed import Ranks, shard_weights
from revgnn.memory import PeakMemory
from revgnn.models import ModelConfig, build_model


def weights(team: Ranks, shape: dict[str, Any], clock: ExchangeClock) -> dict[str, Any]:
    """Take steps of a network, each process on a graph of its own. One process alone holds all, as without `shard_weights`."""
    graph = full_size(shape["nodes"], shape["edges"], 8, seed=team.rank)
    torch.manual_seed(0)
    config = ModelConfig(depth=shape["depth"], channels=shape["channels"], segments=shape["segments"])
    model = build_model(config, in_channels=1, out_channels=1, num_edge_features=graph.num_edge_features, num_species=0)
    cut = shard_weights(model, team) if team.size > 1 else None
    held = list(model.parameters() if cut is None else cut.parameters.parameters())
    optimizer = torch.optim.Adam(held, lr=1e-3, fused=True)
    x = graph.in_degree.float().log1p().unsqueeze(1)
    seconds, waited, peak = [], [], 0
    for step in range(shape["steps"] + 2):
        team.sum(torch.zeros(1))
        clock.restart()
        start = time.perf_counter()
        optimizer.zero_grad()
        if step == 1:  # the first has made the optimiser's state
            with PeakMemory(torch.device("cpu")) as memory:
                _differentiate(model, graph, x, cut)
            peak = memory.peak_bytes
        else:
            _differentiate(model, graph, x, cut)
        optimizer.step()
        if step > 1:
            seconds.append(time.perf_counter() - start)
            waited.append(clock.seconds)
    moments = [t for state in optimizer.state.values() for t in state.values() if t.dim()]
    return {
        "seconds": seconds,
        "exchange_seconds": waited,
        "peak_bytes": peak,
        "weight_bytes": sum(p.nbytes for p in held),
        "gradient_bytes": sum(p.grad.nbytes for p in held if p.grad is not None),
        "moment_bytes": sum(t.nbytes for t in moments),
        "parameters": sum(p.numel() for p in model.parameters()),
        "pieces": 1 if cut is None else len(cut.pieces),
    }


def _differentiate(model: nn.Module, graph: Any, x: Tensor, cut: Any) -> None:
    model(graph, x).square().mean().backward()
    if cut is not None:
        cut.finish(torch.zeros(1))


def show(found: Mapping[str, Any]) -> str:
    """Return the table of the largest figures of a process of each job."""
    rows = []
    for job, processes in found["jobs"].items():
        most = {name: max(p[name] for p in processes) for name in processes[0] if name.endswith("bytes")}
        rows.append(
            [
                job,
                *(harness.megabytes(most[name]) for name in ("weight_bytes", "gradient_bytes", "moment_bytes", "peak_bytes")),
                harness.megabytes(most["resident_peak_bytes"]),
                f"{max(min(p['seconds']) for p in processes):.3g}",
                waiting(processes),
            ]
        )
    head = [
        "",
        "weights",
        "gradients",
        "Adam",
        "peak of tensors in forward and backward",
        "resident, most",
        "s a step",
        IN_EXCHANGES,
    ]
    first = next(iter(found["jobs"].values()))[0]
    sizes = "{depth} layers of {channels} channels, {segments} segments, {nodes:,} nodes, {edges:,} edges a process".format(**found)
    return f"\nWeights cut over processes, {first['parameters']:,} parameters, {sizes}:\n{harness.table(head, rows)}"
