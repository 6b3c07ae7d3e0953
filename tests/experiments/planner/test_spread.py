"""Plans of several processes: shares of a graph, memory and bytes of one process, seconds of a step, the fewest that fit."""

from __future__ import annotations

import gc
import math
from dataclasses import replace

import pytest
import torch

from revgnn.distributed import ShardedGraph, shard_model, sum_gradients
from revgnn.distributed.halo import Halo
from revgnn.experiments.planner.cost import Cost, Line, Pass
from revgnn.experiments.planner.plan import Planner
from revgnn.experiments.planner.rehearse import batch_of, rehearse_step, session_of
from revgnn.experiments.planner.size import DataSize
from revgnn.experiments.planner.spread import clock
from revgnn.experiments.planner.spread.imagined import imagined_ranks
from revgnn.experiments.planner.spread.job import MODES, Job, Link, Mode, parse_duration, parse_link
from revgnn.experiments.planner.spread.plan import SpreadPlanner
from revgnn.experiments.planner.spread.rehearse import rehearse_graph, rehearse_parts, with_mask
from revgnn.experiments.planner.spread.shares import Share, edges_deviation, expected_share, shares_of
from revgnn.experiments.planner.spread.spread_plan import Refused, SpreadPlan
from revgnn.graph import Graph
from revgnn.memory import PeakMemory
from revgnn.testing.graphs import awkward_graphs
from revgnn.train.run.session import differentiate
from tests.experiments.planner.conftest import CPU, proteins, run_of

FAST = Link(1e30)
LINK = Link(1e9, 1e-5)


def random_graph(nodes: int, edges: int) -> Graph:
    generator = torch.Generator().manual_seed(0)
    return Graph.from_edge_index(torch.randint(0, nodes, (2, edges), generator=generator), nodes)


class Cut(ShardedGraph):
    """The share of a process that meets no other."""

    def _meet(self, owner: torch.Tensor, number: torch.Tensor) -> Halo:
        return Halo(self.ranks, len(self.own), torch.zeros(0, dtype=torch.int64), [], [])  # pyright: ignore[reportArgumentType]


# --- shares -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("graph", [*(named.graph for named in awkward_graphs()), random_graph(50, 300)], ids=str)
@pytest.mark.parametrize("how", ["contiguous", "random"])
def test_shares_are_those_that_a_graph_is_cut_into(graph: Graph, how: str) -> None:
    graph = Graph(graph.indptr, graph.src, validate=False)
    ranks = min(3, graph.num_nodes)
    planned = shares_of(graph, ranks, how)  # pyright: ignore[reportArgumentType]
    with imagined_ranks(ranks) as team:
        for rank, share in enumerate(planned):
            team.rank = rank
            cut = Cut(graph, team, how)  # pyright: ignore[reportArgumentType]
            assert (share.own, share.fetched, share.edges) == (len(cut.own), len(cut.fetched), cut.local.num_edges)
    assert sum(share.sent for share in planned) == sum(share.fetched for share in planned)


@pytest.mark.parametrize(("edges", "ranks"), [(5000, 2), (40_000, 3), (400_000, 8)])
def test_the_expected_share_is_that_of_a_random_graph(edges: int, ranks: int) -> None:
    data = replace(proteins(20_000, edges), num_loops=0)
    found = shares_of(random_graph(20_000, edges), ranks)
    expected = expected_share(data, ranks)
    assert sum(share.fetched for share in found) / ranks == pytest.approx(expected.fetched, rel=0.05)


def test_parts_of_a_graph_of_hubs_differ_more_than_by_chance() -> None:
    hub = torch.stack([torch.arange(1, 401), torch.zeros(400, dtype=torch.int64)])
    graph = Graph.from_edge_index(hub, 401)
    data = replace(proteins(401, 400), num_loops=0)
    assert edges_deviation(data, 4, graph) > 2 * edges_deviation(data, 4, None)
    assert edges_deviation(data, 1, graph) == 0.0


WIDE = run_of(model__depth=3, model__segments=3, model__channels=32, parts=1)


@pytest.fixture(scope="module")
def wide() -> SpreadPlanner:
    return SpreadPlanner(Planner(proteins(400, 4000), CPU, graph=random_graph(400, 800)))


# --- memory and bytes -------------------------------------------------------------------------------------------------------------


def test_a_share_that_is_the_whole_graph_is_planned_to_the_byte(small: DataSize) -> None:
    """Its step is really taken, by one process of a job of one."""
    run, share = run_of(model__dropout=0.1), Share(200, 2400, 0, 0)
    planned = rehearse_graph(run, small, CPU, 1, share).peak.total
    graph = random_graph(200, 2400)
    graph = Graph(graph.indptr, graph.src, torch.rand(2400, 8), validate=False)
    with imagined_ranks(1) as team:
        shard = ShardedGraph(graph, team)
        _ = shard.local.by_source
        batch = batch_of(run, small, small.part(1), CPU, shard.local)
        kept = [shard.own, shard.fetched, shard.halo.send, *shard.local._whole, shard.local.indptr, shard.local.src]
        kept += [*shard.local.by_source, shard.local.edge_attr, batch.x, batch.species, batch.y, batch.train]
        held = sum(t.numel() * t.element_size() for t in kept if t is not None)
        gc.collect()
        with PeakMemory() as memory:
            session = session_of(run, small, CPU)
            shard_model(session.model, shard)
            for _ in range(2):
                session.optimizer.zero_grad(set_to_none=True)
                differentiate(session, with_mask(run, batch, shard))
                sum_gradients(session.model, shard)
    assert planned == pytest.approx(memory.peak_bytes + held, rel=1e-3)


@pytest.mark.parametrize(("gradient", "forth"), [("reversible", 2), ("checkpoint", 2), ("backprop", 1)])
def test_rows_travel_three_times_where_layers_are_computed_again_and_twice_where_they_are_stored(
    gradient: str, forth: int, small: DataSize
) -> None:
    run = run_of(model__gradient=gradient, model__dropout=0.1)
    traffic = rehearse_graph(run, small, CPU, 3, Share(70, 800, 90, 80)).traffic
    state = 4 * run.model.channels
    mask = state  # fetched once
    assert traffic.per_sent_row == forth * run.model.depth * state + mask
    assert traffic.per_fetched_row == run.model.depth * state


def test_parts_need_one_more_copy_of_the_gradients(small: DataSize) -> None:
    run = run_of()
    one, many = (found.peaks["backward"] for found in (rehearse_step(run, small, CPU), rehearse_parts(run, small, CPU, 2, 1)))
    assert many.gradients - one.gradients == pytest.approx(one.weights, rel=0.01)
    assert many.activations + many.state == one.activations + one.state


@pytest.mark.parametrize("mode", MODES)
def test_memory_falls_where_something_is_divided(mode: Mode, wide: SpreadPlanner) -> None:
    one, three = (wide.plan(WIDE, Job(ranks), mode).needed_bytes for ranks in (1, 3))
    assert three > one if mode == "parts" else three < one


# --- seconds ----------------------------------------------------------------------------------------------------------------------


WORK = clock.Work(layer=0.03, backward=0.02, rest=0.0, layers=12, per_edge=0.0)


@pytest.mark.parametrize(("stages", "parts"), [(2, 1), (3, 4), (4, 16)])
def test_the_bubble_of_a_pipeline(stages: int, parts: int) -> None:
    where = clock.by_layers(WORK, clock.StepParts(parts, 0.0), [12 // stages] * stages, 1e6, FAST)
    assert where.bubble / where.step == pytest.approx((stages - 1) / (parts + stages - 1))
    assert where.compute == pytest.approx(parts * WORK.total / stages)
    assert where.waiting == pytest.approx(0.0)


def test_a_stage_with_more_layers_is_waited_for() -> None:
    where = clock.by_layers(WORK, clock.StepParts(10, 0.0), [4, 8], 1e6, FAST)
    # the slow stage works without a break but for the first part, which passes the other
    assert where.step == pytest.approx(10 * 8 * WORK.layer + 4 * WORK.layer)
    assert where.waiting == pytest.approx(10 * 2 * WORK.layer)


def test_gradients_travel_behind_the_segments_before() -> None:
    def exchange(segments: int, link: Link) -> float:
        gradients = clock.Gradients(12e6, 0.0, segments, 1e6)
        return clock.by_parts(WORK, clock.StepParts(2, 0.0), 2, link, gradients).exchange

    slow = Link(12e6 / 0.12)  # half of a backward pass for all of them
    assert exchange(1, slow) == pytest.approx(0.12)
    assert exchange(12, slow) == pytest.approx(0.01)
    assert exchange(1, FAST) == pytest.approx(0.0)
    crawling = Link(12e6 / 2.4)  # the link is busy from the first segment on
    assert exchange(12, crawling) == pytest.approx(2.4 - 11 * 0.02)


def test_parts_that_do_not_divide_are_waited_for() -> None:
    gradients = clock.Gradients(1e6, 0.0, 1, 4e6)
    where = clock.by_parts(WORK, clock.StepParts(3, 0.0), 2, FAST, gradients)
    assert where.step == pytest.approx(2 * WORK.total)
    assert where.waiting == pytest.approx(0.5 * WORK.total)


def test_the_largest_of_several_normal_numbers() -> None:
    drawn = torch.randn(200_000, 8, generator=torch.Generator().manual_seed(0)).amax(1).mean()
    assert clock.expected_largest(8) == pytest.approx(float(drawn), rel=0.01)
    assert clock.expected_largest(1) == 0.0


@pytest.fixture(scope="module")
def timed() -> SpreadPlanner:
    seconds = Pass(Line(0.0, 1e-6, 0.0), Line(0.0, 2e-6, 1e-7))
    cost = Cost(seconds, Pass(Line(0.0, 3e-7, 0.0), Line(0.0, 6e-7, 3e-8)), 0.0, 16, None, 0.0)
    return SpreadPlanner(Planner(proteins(400, 4000), CPU, cost))


@pytest.mark.parametrize("mode", MODES)
def test_seconds_add_up_and_one_process_exchanges_nothing(mode: Mode, timed: SpreadPlanner) -> None:
    run = run_of(parts=4, parts_per_step=4)
    one, three = (timed.plan(run, Job(ranks, LINK), mode) for ranks in (1, 3))
    assert one.where is not None
    assert three.where is not None
    assert one.where.step == pytest.approx(one.alone_seconds)
    assert (one.where.exchange, one.sent_bytes) == (0.0, 0.0)
    assert three.where.exchange > 0.0
    assert three.sent_bytes > 0.0
    assert all(value >= 0.0 for value in three.where)
    assert three.speed_up is not None
    assert 0.0 < three.speed_up < 3.0
    assert timed.plan(run, Job(3), mode).where is None


# --- the fewest -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [pytest.param("graph", marks=pytest.mark.slow), "layers", "weights"])
def test_the_fewest_processes_fit_and_one_less_does_not(mode: Mode, wide: SpreadPlanner) -> None:
    limit = wide.plan(WIDE, Job(3), mode).needed_bytes + 1.0
    found = wide.fewest(WIDE, mode, limit)
    assert isinstance(found, SpreadPlan)
    assert found.needed_bytes <= limit
    assert wide.plan(WIDE, Job(found.ranks - 1), mode).needed_bytes > limit
    assert wide.fewest(WIDE, mode, 1000.0) is None
    one = wide.fewest(WIDE, mode, 1e12)
    assert one is not None
    assert one.ranks == 1


def test_what_cannot_be_spread_is_refused() -> None:
    planner = SpreadPlanner(Planner(proteins(50, 200), CPU))
    deq = run_of(model__family="equilibrium", model__depth=4)
    for mode in ("graph", "layers"):
        with pytest.raises(Refused, match="equilibrium"):
            planner.plan(deq, Job(2), mode)
    with pytest.raises(Refused, match="stack of layers"):
        planner.plan(deq, Job(2), "weights")
    checkpointed = run_of(model__family="residual", model__depth=9, model__checkpoint_every=4)
    with pytest.raises(Refused, match="2 stored states cannot be cut into 3 stages"):
        planner.plan(checkpointed, Job(3), "layers")
    most = planner.fewest(checkpointed, "layers", 1e12)
    assert most is not None
    with pytest.raises(Refused, match="3 layers cannot be cut into 4 stages"):
        planner.plan(run_of(), Job(4), "layers")
    with pytest.raises(Refused, match="50 nodes"):
        planner.plan(run_of(), Job(51), "graph")


def test_a_job_of_several_processes_is_not_disturbed() -> None:
    with imagined_ranks(2), pytest.raises(ValueError, match="process of its own"), imagined_ranks(2):
        pass


@pytest.mark.parametrize(
    ("text", "expected"),
    [("300GB/s", 3e11), ("100Gbit/s", 1.25e10), ("25 GiB/s", 25 * 2**30), ("10Gbps", 1.25e9), ("1.5 MB/s", 1.5e6)],
)
def test_speeds_are_read(text: str, expected: float) -> None:
    assert parse_link(text) == expected


@pytest.mark.parametrize("text", ["300", "300GB", "0GB/s", "fast", "-1GB/s"])
def test_what_is_no_speed_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="300GB/s"):
        parse_link(text)


def test_latencies_are_read() -> None:
    assert [parse_duration(text) for text in ("5us", "0.2 ms", "30ns", "1s")] == pytest.approx([5e-6, 2e-4, 3e-8, 1.0])
    with pytest.raises(ValueError, match="5us"):
        parse_duration("5")
    assert math.isclose(Link(1e9, 1e-3).seconds(1e6, 2), 3e-3)
