"""`SpreadPlanner` makes plans of several processes, and finds the fewest that fit."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

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
    rehearse_graph,
    rehearse_graph_evaluation,
    rehearse_parts,
)
from revgnn.experiments.planner.spread.shares import Share, edges_deviation, expected_share, shares_of
from revgnn.experiments.planner.spread.spread_plan import Fewest, Refused, SpreadPlan
from revgnn.experiments.planner.spread.stages import Place, gradient_of, most_stages, of_stage, rehearse_place, stage_of
from revgnn.experiments.planner.spread.weights import StackWeights, cut_weights, in_pieces, pieces_of_backward
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
        library: what exchanges tensors; default: gloo on CPUs, NCCL on GPUs. gloo sums whole gradients where NCCL sends shares.
    """

    planner: Planner
    how: How = "contiguous"
    library: Literal["gloo", "nccl"] | None = None
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
        found = self._parts_of_one(run, parts, job.ranks)
        gradients = self._gradients(run, found)
        where = None
        if (work := self._work(run)) is not None and job.link is not None:
            where = clock.by_parts(work, parts, job.ranks, job.link, gradients)
        sent = 2.0 * (job.ranks - 1) / job.ranks * gradients.total
        return self._of_parts("parts", run, job, parts, found.peak, self._evaluation(run), sent, where)

    def _parts_of_one(self, run: RunConfig, parts: StepParts, ranks: int = 1) -> Rehearsed:
        """Return what a process needs that takes its parts of a step, one after the other."""
        if parts.count == 1 and ranks == 1:
            return self._rehearsals(("step",), rehearse_step).of(run)
        count = min(math.ceil(parts.count / ranks), 2)  # a third is like the second
        return self._rehearsals(("parts", ranks, count), partial(rehearse_parts, ranks=ranks, count=count)).of(run)

    def _by_weights(self, run: RunConfig, job: Job) -> SpreadPlan:
        parts, data = self._parts(run, job), self.planner.data
        stack = StackWeights(run, data)
        segments = stack.segments(run, data.training_batch(run.parts, run.graphs_per_batch))
        weights = stack.over(job.ranks, segments)
        pieces = run if job.ranks == 1 else in_pieces(run, segments)
        found = self._parts_of_one(run, parts) if job.ranks == 1 else self._rehearsals(("step",), rehearse_step).of(pieces)
        library = self.library or ("gloo" if self.planner.device.type == "cpu" else "nccl")
        evaluation = cut_weights(Rehearsed(0, {"evaluation": self._evaluation(run)}), weights, job.ranks)
        cut = clock.Cut(weights.padded / weights.pieces, weights.pieces, weights.everywhere, library == "gloo")
        where = None
        if (work := self._work(run)) is not None and job.link is not None:
            where = clock.by_weights(work, parts, job.ranks, job.link, cut)
        sent = cut.sent(job.ranks, math.ceil(parts.count / job.ranks))
        return self._of_parts("weights", run, job, parts, cut_weights(found, weights, job.ranks), evaluation, sent, where)

    def _by_layers(self, run: RunConfig, job: Job) -> SpreadPlan:
        # takes a while to import
        from revgnn.distributed.pipeline.cut import cut_layers

        model = run.model
        if not isinstance(model, StackConfig):
            raise Refused("an equilibrium has no layers to be shared out.")
        parts = self._parts(run, job)
        gradient = gradient_of(model)
        try:
            stages = cut_layers(stacked_layers(model), gradient, job.ranks)
        except ValueError as error:
            raise Refused(str(error)) from None
        if job.ranks == 1:
            memory, sent, state = self._parts_of_one(run, parts).peak, 0.0, 0.0
        else:
            # the first has the encoder and most parts under way, the second also receives, the last has the head
            runs = [stage_of(run, layers, gradient) for layers in stages]
            middle = [max(runs[1:-1], key=lambda each: stacked_layers(each.model))] if job.ranks > 2 else []
            found = [
                rehearse_place(self._places, stage, Place(job.ranks, rank, parts.count))
                for rank, stage in zip((0, *range(1, 1 + len(middle)), job.ranks - 1), (runs[0], *middle, runs[-1]), strict=True)
            ]
            memory = max((each.peak for each in found), key=lambda memory: memory.total)
            state = max(each.traffic.per_part for each in found)
            summed = max(each.traffic.summed for each in found)
            sent = min(job.ranks - 1, 2) * parts.count * state + 2.0 * (job.ranks - 1) / job.ranks * summed
        where = None
        if (work := self._work(run)) is not None and job.link is not None:
            where = clock.by_layers(work, parts, [len(layers) for layers in stages], state, job.link)
        evaluation = self._evaluation(stage_of(run, max(stages, key=len), gradient))
        return self._of_parts("layers", run, job, parts, memory, evaluation, sent, where)

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
            return most_stages(run.model) if isinstance(run.model, StackConfig) else 1
        return StackWeights(run, self.planner.data).most_ranks() if mode == "weights" else self.planner.data.num_nodes

    def _work(self, run: RunConfig) -> Work | None:
        cost, data = self.planner.cost, self.planner.data
        if cost is None or not cost.knows(run):
            return None
        return Work.of(cost, run, data.training_batch(run.parts, run.graphs_per_batch))

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

    def _places(self, place: Place) -> Rehearsals:
        return self._rehearsals(("stage", place), of_stage(place))

    def _share_rehearsals(self, name: str, rehearse: Any, ranks: int, share: Share, **options: Any) -> Rehearsals:
        return self._rehearsals((name, ranks, share), partial(rehearse, ranks=ranks, share=share), **options)
