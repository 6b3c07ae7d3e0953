"""One process of a job of the benchmark: `python -m benchmarks.ranks.worker MODE STORE RANK SIZE THREADS JSON`.

Process 0 prints one JSON line: for each process the seconds of its steps and of exchanges in them, the peak of its tensors, its
memory, and what it sent.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.distributed import FileStore  # pyright: ignore[reportPrivateImportUsage]

from benchmarks.ranks.exchanges import ExchangeClock
from benchmarks.ranks.layers import layers
from benchmarks.ranks.weights import weights
from revgnn.distributed import Ranks, ShardedGraph, join, shard_model, sum_gradients
from revgnn.graph import Graph
from revgnn.memory import PeakMemory
from revgnn.models import ModelConfig, build_model
from revgnn.train import RunConfig
from revgnn.train.run.session import prepare
from revgnn.train.run.steps import EpochSteps


def parts(team: Ranks, shape: dict[str, Any], clock: ExchangeClock) -> dict[str, Any]:
    """Train epochs of a run whose steps the processes share. The first compiles kernels, and its memory is measured."""
    model = {"family": "reversible", "depth": shape["depth"], "channels": shape["channels"], "segments": shape["segments"]}
    config = RunConfig.parse(
        {
            "data": {"name": f"synthetic:nodes={shape['nodes']},degree={shape['degree']},tasks=3"},
            "model": model,
            "parts": shape["parts"],
            "parts_per_step": shape["parts_per_step"],
            "device": "cpu",
        }
    )
    session = prepare(config)
    session.model.train()
    exchange = team.exchange(session.model)
    seconds, waited, peak = [], [], 0
    for epoch in range(1, shape["epochs"] + 2):
        team.sum(torch.zeros(1))
        clock.restart()
        start = time.perf_counter()
        if epoch == 1:
            with PeakMemory(session.device) as memory:
                _take(session, epoch, team, exchange)
            peak = memory.peak_bytes
        else:
            _take(session, epoch, team, exchange)
            seconds.append(time.perf_counter() - start)
            waited.append(clock.seconds)
    return {"seconds": seconds, "exchange_seconds": waited, "peak_bytes": peak}


def _take(session: Any, epoch: int, team: Ranks, exchange: Any) -> None:
    for _ in EpochSteps(session, epoch, 0, team, exchange):
        pass


def graph(team: Ranks, shape: dict[str, Any], clock: ExchangeClock) -> dict[str, Any]:
    """Take steps of a network on the whole of a graph in files, of which each process reads its share."""
    files = {name: np.load(Path(shape["folder"]) / f"{name}.npy", mmap_mode="r") for name in ("indptr", "src", "edge_attr")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the arrays are read-only
        indptr, src, edge_attr = (torch.from_numpy(array) for array in files.values())
    whole = Graph(indptr, src, edge_attr, edge_scale=shape["edge_scale"], validate=False)
    shard = ShardedGraph(whole, team, shape["how"])
    torch.manual_seed(0)
    config = ModelConfig(depth=shape["depth"], channels=shape["channels"])
    model = build_model(config, in_channels=1, out_channels=1, num_edge_features=whole.num_edge_features, num_species=0)
    shard_model(model, shard)
    x = shard.local.in_degree[: len(shard.own)].float().log1p().unsqueeze(1)
    held = _resident("VmRSS")
    seconds, waited, peak, sent = [], [], 0, 0
    for step in range(shape["steps"] + 1):
        team.sum(torch.zeros(1))
        clock.restart()
        start, sent = time.perf_counter(), shard.halo.bytes_sent
        if step == 0:
            with PeakMemory(torch.device("cpu")) as memory:
                _step(model, shard, x)
            peak = memory.peak_bytes
        else:
            _step(model, shard, x)
        if step > 0 or shape["steps"] == 0:
            seconds.append(time.perf_counter() - start)
            waited.append(clock.seconds)
    return {
        "seconds": seconds,
        "exchange_seconds": waited,
        "peak_bytes": peak,
        "sent_bytes": shard.halo.bytes_sent - sent,
        "own": len(shard.own),
        "fetched": len(shard.fetched),
        "edges": shard.local.num_edges,
        "held_bytes": held,
    }


def _step(model: torch.nn.Module, shard: ShardedGraph, x: torch.Tensor) -> None:
    model.zero_grad(set_to_none=True)
    model(shard.local, x).square().sum().backward()
    sum_gradients(model, shard)


def _resident(name: str) -> int:
    """Return the resident memory of this process in bytes, now (VmRSS) or at most so far (VmHWM).

    What `getrusage` says of the peak includes the process that started this one.
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def main() -> None:
    mode, store, rank, size, threads, text = sys.argv[1:]
    torch.set_num_threads(int(threads))
    run = {"parts": parts, "graph": graph, "layers": layers, "weights": weights}[mode]
    with join(1800.0, (FileStore(store, int(size)), int(rank), int(size))) as team, ExchangeClock() as clock:
        found = run(team, json.loads(text), clock)
        found["resident_peak_bytes"] = _resident("VmHWM")
        everywhere = team.gather(found)
    if rank == "0":
        print(json.dumps(everywhere))


if __name__ == "__main__":
    main()
