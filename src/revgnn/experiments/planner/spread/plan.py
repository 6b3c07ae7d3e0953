"""`SpreadPlanner` makes plans of several processes, and finds the fewest that fit."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from revgnn.distributed.assign import How
from revgnn.distributed.buckets import BUCKET_BYTES
from revgnn.experiments.planner.cost import timed_layers
from revgnn.experiments.planner.memory import Rehearsals, stacked_layers
from revgnn.experiments.planner.plan import Planner
from revgnn.experiments.planner.rehearse import Memory, Rehearsed, rehearse_evaluation, rehearse_step
from revgnn.experiments.planner.size import BatchSize
from revgnn.experiments.planner.spread import clock
from revgnn.experiments.planner.spread.clock import Gradients, StepParts, Where, Work
from revgnn.experiments.planner.spread.job import MODES, Job, Mode
from revgnn.experiments.planner.spread.rehearse import (
    rehearse_first_stage,
    rehearse_graph,
    rehearse_graph_evaluation,
    rehearse_parts,
)
from revgnn.experiments.planner.spread.shares import Share, edges_deviation, expected_share, shares_of
from revgnn.experiments.planner.spread.spread_plan import Fewest, Refused, SpreadPlan
from revgnn.experiments.planner.spread.weights import WeightBytes, cut_weights, pieces_of_backward, segments
from revgnn.models.config import EquilibriumConfig, StackConfig
from revgnn.train.config import RunConfig

MOST_RANKS = 1024
"""Processes up to which the fewest are searched."""


@dataclass
class SpreadPlanner:
    """Makes plans of a run on several processes.

    Attributes:
        planner: of one process.
        how: how a graph is cut over processes.
    """

    planner: Planner
    how: How = "contiguous"
    _made: dict[tuple[Any, ...], Rehearsals] = field(default_factory=dict, init=False, repr=False)
    _shares: dict[int, list[Share]] = field(default_factory=dict, init=False, repr=False)

    def plan(self, run: RunConfig, job: Job, mode: Mode) -> SpreadPlan:
        """Return what a run needs, spread in this way.

        Raises:
            Refused: if it cannot be.
        """
        return {"parts": self._by_parts, "graph": self._by_graph, "layers": self._by_layers, "weights": self._by_weights}[mode](
            run, job
        )

    def plans(self, run: RunConfig, job: Job) -> dict[Mode, SpreadPlan | str]:
        """Return the plan of each way of spreading, or why it cannot be."""
        found: dict[Mode, SpreadPlan | str] = {}
        for mode in MODES:
            try:
                found[mode] = self.plan(run, job, mode)
            except ValueError as error:
                found[mode] = str(error)
        return found

    def fewest_of_all(self, run: RunConfig, memory_bytes: float) -> dict[Mode, Fewest]:
        """Return `fewest` of each way of spreading, or why the run cannot be spread in it."""
        found: dict[Mode, Fewest] = {}
        for mode in MODES:
            try:
                found[mode] = self.fewest(run, mode, memory_bytes)
            except ValueError as error:
                found[mode] = str(error)
        return found

    def fewest(self, run: RunConfig, mode: Mode, memory_bytes: float) -> SpreadPlan | None:
        """Return the plan with the fewest processes that each stay within so many bytes; None if no number up to 1,024 does.

        Memory by parts does not fall with processes.

        Raises:
            Refused: if the run cannot be spread in this way.
        """

        if mode == "parts":
            plan = self.plan(run, Job(1), mode)
            return plan if plan.needed_bytes <= memory_bytes else None
        low, high = 1, min(MOST_RANKS, self._most_ranks(run, mode))
        first, best = self.plan(run, Job(low), mode), self.plan(run, Job(high), mode)
        if first.needed_bytes <= memory_bytes:
            return first
        if best.needed_bytes > memory_bytes:
            return None
        below, above = first.needed_bytes, best.needed_bytes
        halve = False
        while high - low > 1:
            # in turns: where a + b / K between both ends crosses the limit, and the geometric mean
            share = (below - memory_bytes) / (below - above)
            guess = math.sqrt(low * high) if halve else 1.0 / (1.0 / low + share * (1.0 / high - 1.0 / low))
            middle = min(max(round(guess), low + 1), high - 1)
            halve = not halve
            plan = self.plan(run, Job(middle), mode)
            if plan.needed_bytes <= memory_bytes:
                high, above, best = middle, plan.needed_bytes, plan
            else:
                low, below = middle, plan.needed_bytes
        return best

    # --- ways of spreading ----------------------------------------------------------------------------------------------------

    def _by_parts(self, run: RunConfig, job: Job) -> SpreadPlan:
        parts = self._parts(run, job)
        each = math.ceil(parts.count / job.ranks)
        count = min(each, 2)  # a third is like the second
        if parts.count == 1 and job.ranks == 1:
            found = self._rehearsals(("step",), rehearse_step).of(run)
        else:
            rehearse = partial(rehearse_parts, ranks=job.ranks, count=count)
            found = self._rehearsals(("parts", job.ranks, count), rehearse).of(run)
        gradients = self._gradients(run, found)
        where = None
        if (work := self._work(run)) is not None and job.link is not None:
            where = clock.by_parts(work, parts, job.ranks, job.link, gradients)
        sent = 2.0 * (job.ranks - 1) / job.ranks * gradients.total
        return self._of_parts("parts", run, job, parts, found.peak, self._evaluation(run), sent, where)

    def _by_weights(self, run: RunConfig, job: Job) -> SpreadPlan:
        parts = self._parts(run, job)
        each = math.ceil(parts.count / job.ranks)
        found = self._rehearsals(("step",), rehearse_step).of(run)
        weights = self._weights(run, found)
        evaluation = cut_weights(Rehearsed(0, {"evaluation": self._evaluation(run)}), weights, job.ranks)
        where = None
        if (work := self._work(run)) is not None and job.link is not None:
            where = clock.by_weights(work, parts, job.ranks, job.link, weights.total, weights.pieces)
        sent = 3.0 * each * (job.ranks - 1) / job.ranks * weights.total
        return self._of_parts("weights", run, job, parts, cut_weights(found, weights, job.ranks), evaluation, sent, where)

    def _by_layers(self, run: RunConfig, job: Job) -> SpreadPlan:
        model = run.model
        if not isinstance(model, StackConfig):
            raise Refused("an equilibrium has no layers to be shared out.")
        layers = stacked_layers(model)
        if layers < job.ranks:
            raise Refused(f"{layers} layers cannot be shared by {job.ranks} processes.")
        parts = self._parts(run, job)
        stages = [layers // job.ranks + (rank < layers % job.ranks) for rank in range(job.ranks)]
        if getattr(model, "repeats_pair", False):
            stages = [2 * math.ceil(stages[0] / 2)] * job.ranks
        changes: dict[str, Any] = {"depth": stages[0] + model.depth - layers}
        if getattr(model, "segments", 1) > stages[0]:
            changes["segments"] = stages[0]
        stage = run.model_copy(update={"model": model.model_copy(update=changes)})
        in_flight = min(job.ranks, parts.count)
        first = self._rehearsals(("stage", in_flight), partial(rehearse_first_stage, in_flight=in_flight)).of(stage)
        last = self._rehearsals(("step",), rehearse_step).of(stage)
        memory = max(first.peak, last.peak, key=lambda memory: memory.total) if job.ranks > 1 else last.peak
        batch = self.planner.data.training_batch(run.parts, run.graphs_per_batch)
        state = batch.num_nodes * model.channels * (8.0 if model.state == "float64" else 4.0)
        where = None
        if (work := self._work(run)) is not None and job.link is not None:
            where = clock.by_layers(work, parts, stages, state, job.link)
        sent = min(job.ranks - 1, 2) * parts.count * state
        return self._of_parts("layers", run, job, parts, memory, self._evaluation(stage), sent, where)

    def _by_graph(self, run: RunConfig, job: Job) -> SpreadPlan:
        data, ranks = self.planner.data, job.ranks
        if isinstance(run.model, EquilibriumConfig):
            raise Refused("an equilibrium is solved for the whole graph by one process.")
        if data.row != "node":
            raise Refused(f"labels of {data.row}s: one graph over processes needs labels of nodes.")
        whole = run.model_copy(
            update={"parts": 1, "parts_per_step": 1, "evaluation": run.evaluation.model_copy(update={"parts": 1})}
        )
        shares = self.shares(ranks)
        largest = {max(shares, key=key) for key in (lambda s: (s.rows, s.edges), lambda s: (s.edges, s.rows))}
        steps = {s: self._share_rehearsals("graph", rehearse_graph, ranks, s).of(whole) for s in largest}
        evaluations = [
            self._share_rehearsals("evaluation", rehearse_graph_evaluation, ranks, s, of_evaluation=True).of(whole).peak
            for s in largest
        ]
        memory = max((found.peak for found in steps.values()), key=lambda memory: memory.total)
        # of all processes together, so that one with no rows to send says nothing wrong
        found = max(steps.values(), key=lambda each: sum(each.traffic))
        traffic = found.traffic
        sent = max(s.sent * traffic.per_sent_row + s.fetched * traffic.per_fetched_row for s in shares)
        taken = max(s.fetched * traffic.per_sent_row + s.sent * traffic.per_fetched_row for s in shares)
        gradients = self._gradients(whole, found).total
        where = alone = epoch = None
        cost = self.planner.cost
        if cost is not None and cost.knows(run):
            alone = Work.of(cost, whole, data.part(1)).total
            if job.link is not None:
                works = [Work.of(cost, whole, BatchSize(s.own, s.edges, s.own, s.own), s.rows) for s in shares]
                where = clock.by_graph(works, max(sent, taken), traffic.exchanges, gradients, job.link)
                epoch = where.step
        sent += 2.0 * (ranks - 1) / ranks * gradients
        evaluation = max(evaluations, key=lambda memory: memory.total)
        device = self.planner.device.type
        return SpreadPlan("graph", ranks, 1, device, memory, evaluation, 0.0, sent, where, alone, epoch, tuple(shares))

    def shares(self, ranks: int) -> list[Share]:
        """Return the shares of a graph that is cut over so many processes: of the graph if it is there, else expected ones.

        Raises:
            Refused: if there are more processes than nodes.
        """
        if ranks > self.planner.data.num_nodes:
            raise Refused(f"a graph of {self.planner.data.num_nodes} nodes cannot be cut over {ranks} processes.")
        if ranks not in self._shares:
            graph, data = self.planner.graph, self.planner.data
            if graph is None:
                self._shares[ranks] = [expected_share(data, ranks)] * ranks
            else:
                self._shares[ranks] = shares_of(graph, ranks, self.how)
        return self._shares[ranks]

    # --- what they have in common ---------------------------------------------------------------------------------------------

    def _of_parts(
        self,
        mode: Mode,
        run: RunConfig,
        job: Job,
        parts: StepParts,
        memory: Memory,
        evaluation: Memory,
        sent: float,
        where: Where | None,
    ) -> SpreadPlan:
        work, cost = self._work(run), self.planner.cost
        alone = None if work is None else parts.count * work.total
        epoch = None
        if where is not None and cost is not None:
            sharing = 1 if mode == "layers" else job.ranks
            steps = math.ceil(self._parts_of_epoch(run) / parts.count)
            epoch = steps * where.step + cost.cutting(self.planner.data, run.parts) / sharing
        one = self.planner.plan(run)
        device = self.planner.device.type
        return SpreadPlan(mode, job.ranks, parts.count, device, memory, evaluation, one.waiting_bytes, sent, where, alone, epoch)

    def _parts(self, run: RunConfig, job: Job) -> StepParts:
        """Return the parts of a step: those of the run, or as `train` chooses them, one for each process, as far as there are."""
        count = run.parts_per_step if run.parts_per_step > 1 else min(job.ranks, self._parts_of_epoch(run))
        return StepParts(count, edges_deviation(self.planner.data, run.parts, self.planner.graph))

    def _parts_of_epoch(self, run: RunConfig) -> int:
        data = self.planner.data
        return math.ceil(data.num_train / run.graphs_per_batch) if data.row == "graph" else run.parts

    def _most_ranks(self, run: RunConfig, mode: Mode) -> int:
        if mode == "layers":
            return stacked_layers(run.model) if isinstance(run.model, StackConfig) else 1
        return self.planner.data.num_nodes if mode == "graph" else MOST_RANKS

    def _work(self, run: RunConfig) -> Work | None:
        cost, data = self.planner.cost, self.planner.data
        if cost is None or not cost.knows(run):
            return None
        return Work.of(cost, run, data.training_batch(run.parts, run.graphs_per_batch))

    def _weights(self, run: RunConfig, found: Rehearsed) -> WeightBytes:
        layers = max(1, timed_layers(run))
        return WeightBytes.of(found.peak.weights, self._bytes_of_layer(run, found), layers, segments(run))

    def _gradients(self, run: RunConfig, found: Rehearsed) -> Gradients:
        total = 4.0 * found.parameters
        outside = max(0.0, total - timed_layers(run) * self._bytes_of_layer(run, found))
        return Gradients(total, outside, pieces_of_backward(run), BUCKET_BYTES)

    def _bytes_of_layer(self, run: RunConfig, found: Rehearsed) -> float:
        """Return the bytes of the weights of a layer; 0 if layers share them."""
        deeper = run.model_copy(update={"model": run.model.model_copy(update={"depth": run.model.depth + 2})})
        return 2.0 * (self._rehearsals(("step",), rehearse_step).of(deeper).parameters - found.parameters)

    def _evaluation(self, run: RunConfig) -> Memory:
        return self._rehearsals(("evaluation",), rehearse_evaluation).of(run).peak

    def _rehearsals(self, key: tuple[Any, ...], rehearse: Any, **options: Any) -> Rehearsals:
        if key not in self._made:
            self._made[key] = Rehearsals(rehearse, self.planner.data, self.planner.device, **options)
        return self._made[key]

    def _share_rehearsals(self, name: str, rehearse: Any, ranks: int, share: Share, **options: Any) -> Rehearsals:
        return self._rehearsals((name, ranks, share), partial(rehearse, ranks=ranks, share=share), **options)
