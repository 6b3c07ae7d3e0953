"""Training on one graph that is cut over processes: `--parallel graph`."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import cast, get_args

import torch
from torch import Tensor

from revgnn.data import RandomPartition
from revgnn.distributed.assign import How
from revgnn.distributed.graph_data import ShardBatches
from revgnn.distributed.ranks import Ranks
from revgnn.distributed.shard_model import check_draws, shard_model
from revgnn.distributed.sharded_graph import ShardedGraph
from revgnn.equilibrium import SolveStatistics
from revgnn.models.config import StackConfig
from revgnn.ops.dropout import rows_of_larger
from revgnn.train.batches import Batch
from revgnn.train.config import ConfigError
from revgnn.train.inference.views import batch_logits, evaluating
from revgnn.train.run.optimization import autocast
from revgnn.train.run.session import Session, Share, differentiate_logits, forward, set_learning_rate
from revgnn.train.run.spread import Spread, Steps
from revgnn.train.run.steps import Step
from revgnn.train.run.team import GradientExchange, Team
from revgnn.train.tricks.label_inputs import reuse_labels, show_labels


class ByGraph(Spread):
    """Each process has some of the nodes of one graph, the edges into them, and a copy of the network.

    The processes draw the random numbers of one process, each for its own nodes: the forward pass gives the bits of one process,
    and sums of gradients differ in rounding.

    Args:
        cut: which process has which nodes; see `assign`.
    """

    name = "graph"

    def __init__(self, cut: str = "contiguous") -> None:
        if cut not in get_args(How):
            raise ValueError(f"--cut must be one of {', '.join(get_args(How))}; got {cut!r}.")
        self.cut: How = cast(How, cut)

    def check(self, session: Session, team: Team) -> None:
        config, model = session.config, session.config.model
        self.check_inference(session, team)
        if config.parts != 1:
            raise ConfigError(f"--parallel graph trains on the whole graph, got parts={config.parts}; set parts=1.")
        if config.capture:
            raise ConfigError("several processes cannot share a step that is one CUDA graph; set capture=false.")
        try:
            check_draws(session.model, shares_mask=isinstance(model, StackConfig) and model.shared_dropout)
        except ValueError as error:
            raise ConfigError(f"--parallel graph: {error}") from None

    def check_inference(self, session: Session, team: Team) -> None:
        config, data = session.config, session.dataset
        if data.row != "node":
            raise ConfigError(
                f"--parallel graph cuts one graph with labels of nodes, and {data.name} has labels of {data.row}s; use --parallel "
                "parts."
            )
        if config.evaluation.parts != 1:
            raise ConfigError(
                f"--parallel graph evaluates the whole graph, got evaluation.parts={config.evaluation.parts}; set "
                "evaluation.parts=1 (revgnn evaluate --parts 1)."
            )
        solver = getattr(config.model, "solver", None)
        if solver is not None and solver.warm_start:
            raise ConfigError("model.solver.warm_start keeps solutions of all nodes of a graph; set it to false.")
        if self.cut == "metis" and importlib.util.find_spec("pymetis") is None:
            raise ConfigError("--cut metis needs pymetis: pip install 'revgnn[metis]'; --cut contiguous needs nothing.")
        if data.num_nodes < team.size:
            raise ConfigError(f"{data.name} has {data.num_nodes} nodes, and each of {team.size} processes needs one; use fewer.")

    def begin_inference(self, session: Session, team: Team) -> None:
        assert isinstance(team, Ranks)
        self.team = team
        self.shard = ShardedGraph(session.dataset.graph, team, self.cut, device=session.device)
        shard_model(session.model, self.shard)
        self._batches = session.batches = ShardBatches(
            session.dataset,
            self.shard,
            session.device,
            label_inputs=session.config.label_inputs > 0,
            label_reuse=session.config.label_reuse,
            teacher=session.teacher,
        )
        # whatever still holds all rows goes
        session.dataset, session.teacher = self._batches.dataset, None
        session.partition = RandomPartition(self.shard.local, 1, session.config.seed)

    def steps(self, session: Session, epoch: int, start: int, should_stop: Callable[[], bool] = lambda: False) -> Steps:
        return GraphSteps(session, epoch, start, self._batches, self.shard, (self._exchange, should_stop))

    def infer(self, session: Session) -> Tensor:
        evaluation, batch = session.config.evaluation, self._batches.whole
        with evaluating(session.model, session.device, session.config.seed):
            logits = batch_logits(session.model, batch, evaluation, session.dataset.objective, session.config.label_reuse)
        return self.shard.gather(logits)

    def take_solves(self, session: Session) -> SolveStatistics | None:
        return session.model.take_solves()  # the processes solve together


class GraphSteps:
    """The one step of an epoch on a graph that is cut over processes; none if it is done."""

    def __init__(
        self,
        session: Session,
        epoch: int,
        start: int,
        batches: ShardBatches,
        shard: ShardedGraph,
        asked: tuple[GradientExchange, Callable[[], bool]],
    ) -> None:
        self._session, self._epoch, self._start = session, epoch, start
        self._batches, self._shard = batches, shard
        self._exchange, self._should_stop = asked
        self._stops = False

    @property
    def stopping(self) -> bool:
        return self._stops

    def __iter__(self) -> Iterator[Step]:
        if self._start:
            return
        started = time.perf_counter()
        session = self._session
        set_learning_rate(session, self._epoch - 1)
        session.optimizer.zero_grad(set_to_none=True)
        loss, total = (t.detach() for t in self._differentiate())
        stops = torch.tensor(float(self._should_stop()), device=session.device)
        # after the backward pass, whose exchanges of rows must meet in one order in all processes
        loss, total, stops = self._exchange.finish(torch.stack([loss.float(), total.float(), stops])).unbind()
        value = session.scaler.update(session.model, session.optimizer, loss, total, session.config.optim.clip_norm)
        self._stops = bool(stops)
        yield Step(value, self._batches.whole.num_labelled, time.perf_counter() - started)

    def _differentiate(self) -> tuple[Tensor, Tensor]:
        """Run forward and backward pass; see `revgnn.train.run.session.differentiate`."""
        session, batch = self._session, self._batches.whole
        config, task = session.config, session.dataset.objective
        with self._rows(), autocast(session.device, config.amp):
            if config.label_inputs:
                batch = self._show_some_labels(batch)
                batch = reuse_labels(lambda b: forward(session.model, b), batch, config.label_reuse, task)
            logits = forward(session.model, batch)
        return differentiate_logits(session, batch, logits, self._share(batch))

    def _rows(self) -> AbstractContextManager[None]:
        shard = self._shard
        return rows_of_larger(shard.own.to(self._session.device), shard.num_nodes)

    def _show_some_labels(self, batch: Batch) -> Batch:
        """Return the batch with the labels that one process would draw; see `show_some_labels`."""
        batches = self._batches
        shown = torch.rand(len(batches.train_own)) < self._session.config.label_inputs
        if not bool(batches.train_labelled[~shown].any()):
            shown = torch.zeros_like(shown)
        return show_labels(batch, shown[batches.train_own].to(batch.train.device), self._session.dataset.objective)

    def _share(self, batch: Batch) -> Share:
        """Return what the terms of this process's loss count for: the mean over all labels and nodes is the sum of shares."""
        session = self._session
        y = self._batches.y[batch.train.cpu()]
        task, weights = session.dataset.objective, None if session.class_weights is None else session.class_weights.cpu()
        mine = task.loss_weight(y, weights) if task.num_labelled(y) else 0.0
        total = float(self._shard.ranks.sum(torch.tensor(mine, dtype=torch.float64)))
        return Share(mine / total, len(self._shard.own) / self._shard.num_nodes)
