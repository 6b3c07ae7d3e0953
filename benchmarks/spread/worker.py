"""One process of a job: `python -m benchmarks.spread.worker MODE STORE RANK SIZE THREADS JSON`.

Process 0 prints one JSON line: for each process what is alive at the peak of a step, what it sends in one, and its seconds.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import stat
import struct
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch.distributed import FileStore  # pyright: ignore[reportPrivateImportUsage]

from benchmarks.plan import data_size
from benchmarks.ranks.exchanges import ExchangeClock
from revgnn.data import proteins_shaped
from revgnn.distributed import Ranks, ShardedGraph, join, make_spread, shard_model, sum_gradients
from revgnn.experiments.planner.rehearse import batch_of, session_of
from revgnn.experiments.planner.size import BatchSize
from revgnn.experiments.planner.spread.rehearse import with_mask
from revgnn.graph import Graph
from revgnn.graph.index import BySource
from revgnn.memory import PeakMemory
from revgnn.train import RunConfig
from revgnn.train.batches import Batch
from revgnn.train.run.session import Session, differentiate, prepare
from revgnn.train.run.spread import Spread
from revgnn.train.run.steps import EpochSteps
from revgnn.train.run.team import ALONE

CPU = torch.device("cpu")

_BYTES_SENT = 200
"""Where Linux (4.19 or newer) has the bytes that a connection has sent in `struct tcp_info`, and behind them those sent again."""


def sent_bytes() -> int:
    """Return the bytes that this process has sent through its open TCP connections, as the kernel counts them, each once.

    On a machine with more work than cores an answer may come late, and the kernel sends again.
    """
    total = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                continue
            with socket.socket(fileno=os.dup(int(name))) as connection:
                if connection.family in (socket.AF_INET, socket.AF_INET6) and connection.type == socket.SOCK_STREAM:
                    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 232)
                    sent, again = struct.unpack_from("QQ", info, _BYTES_SENT)
                    total += sent - again
        except OSError:  # closed meanwhile
            continue
    return total


def steps(team: Ranks, count: int, step: Callable[[], object]) -> dict[str, Any]:
    """Take steps after one that is not timed. Return their seconds, those spent in exchanges, and the bytes of the last."""
    step()
    seconds, waited, sent = [], [], 0
    with ExchangeClock() as clock:
        for _ in range(count):
            team.sum(torch.zeros(1))
            clock.restart()
            before, start = sent_bytes(), time.perf_counter()
            step()
            seconds.append(time.perf_counter() - start)
            waited.append(clock.seconds)
            sent = sent_bytes() - before
    return {"seconds": seconds, "exchange_seconds": waited, "sent_bytes": sent}


def parts(team: Ranks, shape: dict[str, Any]) -> dict[str, Any]:
    """Train epochs of a run whose steps the processes share. An epoch is one step."""
    session = prepare(RunConfig.parse(shape["run"]))
    session.model.train()
    exchange = team.exchange(session.model)
    held: list[int] = []
    found: dict[str, Any] = {}

    def epoch(number: int) -> None:
        for _ in EpochSteps(_watched(session, held), number, 0, team, exchange):
            pass

    epoch(1)  # compiles kernels
    session.optimizer.state.clear()
    gc.collect()
    with PeakMemory(CPU) as memory:
        epoch(2)
        epoch(3)
    weights = sum(t.numel() * t.element_size() for t in (*session.model.parameters(), *session.model.buffers()))
    buckets = sum(p.numel() * p.element_size() for p in session.model.parameters() if p.requires_grad) if team.size > 1 else 0
    found["peak_bytes"] = memory.peak_bytes + weights + buckets + max(held)
    return found | steps(team, shape["steps"], lambda: epoch(4))


def _watched(session: Session, held: list[int]) -> Session:
    """Note the bytes of the graph of each part, which torch does not allocate."""
    original = type(session.batches).epoch
    batches = session.batches

    def watched(*args: Any, **kwargs: Any) -> Any:
        for batch in original(batches, *args, **kwargs):
            graph = batch.graph
            _ = graph.by_source
            held.append(_bytes_of([graph.indptr, graph.src, *graph.by_source, graph.edge_attr]))
            yield batch

    session.batches.epoch = watched  # pyright: ignore[reportAttributeAccessIssue]
    return session


def layers(team: Ranks, shape: dict[str, Any]) -> dict[str, Any]:
    """Train epochs of a run whose layers are cut over the processes. An epoch is one step."""
    session = prepare(RunConfig.parse(shape["run"]))
    spread = _spread("layers", team)
    spread.begin(session, ALONE if team.size == 1 else team)
    return _of_epochs(team, session, spread, shape["steps"])


def weights(team: Ranks, shape: dict[str, Any]) -> dict[str, Any]:
    """Train epochs of a run whose weights are cut over the processes. An epoch is one step."""
    session = prepare(RunConfig.parse(shape["run"]))
    spread = _spread("weights", team)
    if team.size > 1:
        spread.begin_inference(session, team)  # cuts the weights, which a run does when it restores its state
    spread.begin(session, ALONE if team.size == 1 else team)
    return _of_epochs(team, session, spread, shape["steps"])


def _spread(mode: str, team: Ranks) -> Spread:
    return Spread() if team.size == 1 else make_spread(mode)


def _of_epochs(team: Ranks, session: Session, spread: Spread, count: int) -> dict[str, Any]:
    """Measure epochs of one step each: memory from the first step after the one that compiles kernels, with all that is kept."""
    session.model.train()
    _count_graphs(session)

    def epoch(number: int) -> None:
        for _ in spread.steps(session, number, 0):
            pass

    epoch(1)
    session.optimizer.state.clear()
    for group in session.optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None
    gc.collect()
    held = _bytes_of(_unique([*(p for group in session.optimizer.param_groups for p in group["params"]), *session.model.buffers()]))
    with PeakMemory(CPU) as memory:
        epoch(2)
        epoch(3)
    return {"peak_bytes": memory.peak_bytes + held} | steps(team, count, lambda: epoch(4))


def _unique(tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    return list({id(t): t for t in tensors}.values())


class _CountedGraph(Graph):
    """A part of a graph in memory of torch, which `PeakMemory` counts from when it is made until it is dropped."""

    def __init__(self, graph: Graph) -> None:
        attr = None if graph.edge_attr is None else graph.edge_attr.clone()
        super().__init__(graph.indptr.clone(), graph.src.clone(), attr, edge_scale=graph.edge_scale, validate=False)

    @property
    def by_source(self) -> BySource:
        if self._by_source is None:
            self._by_source = BySource(*(t.clone() for t in super().by_source))
        return self._by_source


def _count_graphs(session: Session) -> None:
    """Let the graphs of parts, which compiled code makes, be in memory that `PeakMemory` counts."""
    batches = session.batches
    original = batches.epoch

    def counted(*args: Any, **kwargs: Any) -> Iterator[Batch]:
        for batch in original(*args, **kwargs):
            yield replace(batch, graph=_CountedGraph(batch.graph))

    batches.epoch = counted  # pyright: ignore[reportAttributeAccessIssue]


def graph(team: Ranks, shape: dict[str, Any]) -> dict[str, Any]:
    """Take training steps on a graph that is cut over the processes."""
    data = data_size(shape["nodes"], shape["edges"])
    run = RunConfig.parse(shape["run"])
    whole = proteins_shaped(shape["nodes"], shape["edges"], data.num_edge_features)
    shard = ShardedGraph(whole, team, shape["how"])
    size = BatchSize(len(shard.own), shard.local.num_edges, len(shard.own), max(1, data.num_train // team.size))
    batch = batch_of(run, data, size, CPU, shard.local)
    held = _bytes_of_share(shard) + _bytes_of([batch.x, batch.species, batch.y, batch.train])
    gc.collect()
    with PeakMemory(CPU) as memory:
        session = session_of(run, data, CPU)
        shard_model(session.model, shard)

        def step() -> None:
            session.optimizer.zero_grad(set_to_none=True)
            loss, total = differentiate(session, with_mask(run, batch, shard))
            sum_gradients(session.model, shard)
            session.scaler.update(session.model, session.optimizer, loss, total, run.optim.clip_norm)

        step()
        gc.collect()
        step()
    own = {"own": len(shard.own), "fetched": len(shard.fetched), "edges": shard.local.num_edges}
    before = shard.halo.bytes_sent
    step()
    own["halo_bytes"] = shard.halo.bytes_sent - before
    return {"peak_bytes": memory.peak_bytes + held, **own, **steps(team, shape["steps"], step)}


def _bytes_of_share(shard: ShardedGraph) -> int:
    """Return the bytes of a share: of its pieces of the whole graph, which may lie in a file."""
    local = shard.local
    tensors = [local.indptr, local.src, *local.by_source, local.edge_attr, *local._whole]
    return _bytes_of([*tensors, shard.own, shard.fetched, shard.halo.send])


def _bytes_of(tensors: Iterable[torch.Tensor | None]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors if t is not None)


def main() -> None:
    mode, store, rank, size, threads, text = sys.argv[1:]
    torch.set_num_threads(int(threads))
    with join(1800.0, (FileStore(store, int(size)), int(rank), int(size))) as team:
        everywhere = team.gather(
            {"parts": parts, "graph": graph, "layers": layers, "weights": weights}[mode](team, json.loads(text))
        )
    if rank == "0":
        print(json.dumps(everywhere))


if __name__ == "__main__":
    main()
