"""A training step of one process of several, rehearsed: the code of the run on tensors without memory."""

from __future__ import annotations

import torch

from revgnn.distributed import ShardedGraph, shard_model, sum_gradients
from revgnn.distributed.sharded_graph import LocalGraph
from revgnn.experiments.planner.rehearse import (
    Rehearsed,
    Traffic,
    batch_of,
    new_rehearsal,
    peaks_of_step,
    rehearsed_batch,
    session_of,
)
from revgnn.experiments.planner.size import BatchSize, DataSize
from revgnn.experiments.planner.spread.imagined import CountingHalo, ImaginedRanks, imagined_ranks
from revgnn.experiments.planner.spread.shares import Share
from revgnn.graph import Graph
from revgnn.graph.index import BySource
from revgnn.memory import Rehearsal
from revgnn.models import num_parameters
from revgnn.models.config import StackConfig
from revgnn.train.batches import Batch
from revgnn.train.config import RunConfig
from revgnn.train.inference.views import batch_logits
from revgnn.train.run.session import Session, differentiate
from revgnn.train.run.session import Share as LossShare
from revgnn.train.run.steps import EpochSteps
from revgnn.train.run.team import ALONE, GradientExchange


def rehearse_parts(run: RunConfig, data: DataSize, device: torch.device, ranks: int, count: int) -> Rehearsed:
    """Rehearse a step of a process that takes `count` parts, and sums its gradients with others while the last is differentiated.

    Buckets of gradients are there, as after the first step. A single process has none.
    """
    run = run.model_copy(update={"parts_per_step": 1})  # a part draws from torch's generators as they stand
    size = data.training_batch(run.parts, run.graphs_per_batch)
    with imagined_ranks(ranks) as team, new_rehearsal(device) as rehearsal:
        session = session_of(run, data, device, rehearsal.label)
        label_gradients(rehearsal, session)
        batch = rehearsed_batch(rehearsal, run, data, size, device)
        exchange = team.exchange(session.model) if ranks > 1 else GradientExchange()
        with rehearsal.label("gradients"):
            exchange.finish(torch.zeros(1))
        steps = EpochSteps(session, 1, 0, team if ranks > 1 else ALONE, exchange)
        begin, exchanges = rehearsal.time, team.exchanges
        pieces = ((0, batch, LossShare(1.0 / ranks, 1.0 / ranks)) for _ in range(count))
        steps._take(pieces, count, ranks * count)
        return found_in(rehearsal, session, begin, Traffic(exchanges=team.exchanges - exchanges))


def rehearse_graph(run: RunConfig, data: DataSize, device: torch.device, ranks: int, share: Share) -> Rehearsed:
    """Rehearse a step of a process that has a share of the whole graph. Buckets of gradients are there, as after the first step."""
    with imagined_ranks(ranks) as team, new_rehearsal(device) as rehearsal:
        session = session_of(run, data, device, rehearsal.label)
        label_gradients(rehearsal, session)
        with rehearsal.label("graph"), torch.device(device):
            shard = _ImaginedShard(team, share, data)
        shard_model(session.model, shard)
        with rehearsal.label("inputs"):
            batch = _own_batch(run, data, shard, share, ranks, device)
        with rehearsal.label("gradients"):
            sum_gradients(session.model, shard)
        begin, exchanges = rehearsal.time, team.exchanges
        session.optimizer.zero_grad(set_to_none=True)
        loss, total = differentiate(session, with_mask(run, batch, shard))
        sum_gradients(session.model, shard)
        session.scaler.update(session.model, session.optimizer, loss, total, run.optim.clip_norm)
        return found_in(rehearsal, session, begin, _traffic(shard, share, team.exchanges - exchanges))


def rehearse_graph_evaluation(run: RunConfig, data: DataSize, device: torch.device, ranks: int, share: Share) -> Rehearsed:
    """Rehearse the forward pass of an evaluation of a share of the whole graph, whose logits all processes then have."""
    with imagined_ranks(ranks) as team, new_rehearsal(device) as rehearsal:
        session = session_of(run, data, device, rehearsal.label)
        with rehearsal.label("gradients"):
            for parameter in session.model.parameters():
                parameter.grad = torch.zeros_like(parameter)
        with rehearsal.label("graph"), torch.device(device):
            shard = _ImaginedShard(team, share, data)
        shard_model(session.model, shard)
        with rehearsal.label("inputs"):
            batch = _own_batch(run, data, shard, share, ranks, device)
        begin, exchanges = rehearsal.time, team.exchanges
        session.model.eval()
        with torch.no_grad():
            shard.collect(batch_logits(session.model, batch, run.evaluation, data.task, run.label_reuse).to(device))
        return found_in(rehearsal, session, begin, _traffic(shard, share, team.exchanges - exchanges))


def label_gradients(rehearsal: Rehearsal, session: Session) -> None:
    """Give gradients of weights their label as soon as they are complete: before an exchange that replaces them."""
    for parameter in session.model.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(lambda p: p.grad is None or rehearsal.set_label(p.grad, "gradients"))


def found_in(rehearsal: Rehearsal, session: Session, begin: int, traffic: Traffic) -> Rehearsed:
    """Return what a rehearsal has found of a step that began at this time and has just ended."""
    for parameter in session.model.parameters():
        if parameter.grad is not None:
            rehearsal.set_label(parameter.grad, "gradients")  # buckets, of which gradients are parts
    return Rehearsed(num_parameters(session.model), dict(peaks_of_step(rehearsal, begin, rehearsal.time)), traffic)


# --- a share of the graph ---------------------------------------------------------------------------------------------------------


class _ImaginedShard(ShardedGraph):
    """The share of a process of a graph that is not there. Made in a rehearsal, on its device."""

    halo: CountingHalo

    def __init__(self, team: ImaginedRanks, share: Share, data: DataSize) -> None:
        self.ranks = team
        self.num_nodes = data.num_nodes
        self.own = torch.empty(share.own, dtype=torch.int64)
        self.fetched = torch.empty(share.fetched, dtype=torch.int64)
        index = torch.int32 if data.index_bytes == 4 else torch.int64
        attr = None
        if data.num_edge_features:
            dtype = torch.float32 if data.edge_bytes == 4 else torch.float16
            attr = torch.empty(share.edges, data.num_edge_features, dtype=dtype)
        graph = Graph(
            torch.empty(share.rows + 1, dtype=torch.int64), torch.empty(share.edges, dtype=torch.int32), attr, validate=False
        )
        degrees = (torch.empty(share.rows, dtype=torch.int64) for _ in range(3))
        self.local = LocalGraph(graph, *degrees)
        self.local._by_source = BySource(
            torch.empty(share.rows + 1, dtype=torch.int64), *(torch.empty(share.edges, dtype=index) for _ in range(2))
        )
        sent, fetched = (_spread(rows, team.size) for rows in (share.sent, share.fetched))
        self.halo = CountingHalo(team, share.own, torch.empty(share.sent, dtype=torch.int64), sent, fetched)


def _spread(rows: int, ranks: int) -> list[int]:
    """Return rows by process: process 0 sends itself none, the others share them."""
    return [0] + [rows * (rank + 1) // (ranks - 1) - rows * rank // (ranks - 1) for rank in range(ranks - 1)]


def _own_batch(run: RunConfig, data: DataSize, shard: ShardedGraph, share: Share, ranks: int, device: torch.device) -> Batch:
    size = BatchSize(share.own, share.edges, share.own, max(1, data.num_train // ranks))
    return batch_of(run, data, size, device, shard.local)


def with_mask(run: RunConfig, batch: Batch, shard: ShardedGraph) -> Batch:
    """Return the batch with the rows of this process of one dropout mask for all layers, if the network has one."""
    model = run.model
    if not (isinstance(model, StackConfig) and model.shared_dropout and model.dropout):
        return batch
    mask = shard.mask(model.channels, model.groups, model.dropout, run.seed)
    return Batch(**{**vars(batch), "targets": {"mask": mask}})


def _traffic(shard: _ImaginedShard, share: Share, exchanges: int) -> Traffic:
    halo = shard.halo
    return Traffic(halo.bytes_forth / max(share.sent, 1), halo.bytes_back / max(share.fetched, 1), exchanges)
