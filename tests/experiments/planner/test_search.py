"""What a search returns fits, and what is one step further does not."""

from __future__ import annotations

import pytest

from revgnn.experiments.planner.cost import Cost, Line, Pass
from revgnn.experiments.planner.plan import Limits, Planner
from revgnn.experiments.planner.search import MOST_LAYERS, deepest, fewest_parts, fit, strategies, widest
from revgnn.experiments.planner.size import BatchSize, DataSize
from revgnn.train.config import RunConfig
from tests.experiments.planner.conftest import CPU, proteins, run_of

PER_LAYER = Line(0.0, 1e-6, 1e-8)
COST = Cost(
    step=Pass(Line(0.0, 1e-7, 0.0), PER_LAYER),
    forward=Pass(Line(0.0, 1e-8, 0.0), Line(0.0, 2e-7, 2e-9)),
    cut_seconds_per_edge=1e-9,
    channels=16,
    exponent=1.5,
    spread=0.0,
)


@pytest.fixture(scope="module")
def planner() -> Planner:
    return Planner(proteins(20_000, 400_000), CPU, COST)


RUN = run_of(model__conv="gcn", epochs=10)


def needed(planner: Planner, run: RunConfig, **changes: object) -> float:
    return planner.plan(run.replace({key.replace("__", "."): value for key, value in changes.items()})).needed_bytes


def test_one_layer_more_than_the_deepest_does_not_fit(planner: Planner) -> None:
    run = RUN.replace({"model.gradient": "backprop"})
    found = deepest(planner, run, Limits(memory_bytes=200e6))
    assert found is not None
    depth = found.run.model.depth
    assert depth > 10
    assert needed(planner, run, model__depth=depth) <= 200e6 < needed(planner, run, model__depth=depth + 1)


def test_the_deepest_of_a_repeated_pair_is_even_and_needs_no_more_memory(planner: Planner) -> None:
    found = deepest(planner, RUN.replace({"model.tied": True, "model.depth": 4}), Limits(memory_bytes=1e9))
    assert found is not None
    assert found.run.model.depth == MOST_LAYERS


def test_the_widest_is_near_the_limit_and_divides_into_groups(planner: Planner) -> None:
    run = RUN.replace({"model.groups": 4})
    found = widest(planner, run, Limits(memory_bytes=300e6))
    assert found is not None
    channels = found.run.model.channels
    assert channels % 4 == 0
    assert 0.95 * 300e6 <= found.needed_bytes <= 300e6


@pytest.mark.slow
def test_one_part_fewer_does_not_fit(planner: Planner) -> None:
    limits = Limits(memory_bytes=25e6)
    found = fewest_parts(planner, RUN, limits)
    assert found is not None
    parts, of_evaluation = found.run.parts, found.run.evaluation.parts
    assert parts > 1
    assert found.fits(limits)
    assert planner.plan(RUN.replace({"parts": parts - 1, "evaluation.parts": of_evaluation})).training_bytes() > 25e6
    assert planner.plan(RUN.replace({"parts": parts, "evaluation.parts": of_evaluation - 1})).evaluation_bytes() > 25e6


def test_limits_that_nothing_meets(planner: Planner) -> None:
    for search in (deepest, widest, fewest_parts):
        assert search(planner, RUN, Limits(memory_bytes=1000.0)) is None
    assert fit(planner, RUN, Limits(memory_bytes=1000.0)) is None
    assert deepest(planner, RUN.replace({"model.family": "equilibrium", "model.depth": 4}), Limits(1e9)) is None


def test_hours_limit_depth_and_parts(planner: Planner) -> None:
    run = RUN.replace({"epochs": 1000})
    hours = planner.plan(run.replace({"model.depth": 100})).seconds.total / 3600  # pyright: ignore[reportOptionalMemberAccess]
    found = deepest(planner, run, Limits(hours=hours))
    assert found is not None
    assert found.run.model.depth == 100
    with pytest.raises(ValueError, match="planned from a probe"):
        deepest(Planner(planner.data, CPU), run, Limits(hours=1.0))


def test_strategies_have_the_networks_own_first_and_backprop_saves_an_evaluation(planner: Planner) -> None:
    plans = strategies(planner, RUN.replace({"model.depth": 6}))
    assert [name for name, _ in plans] == ["reversible", "checkpoint", "backprop"]
    reversible, checkpoint, backprop = (plan for _, plan in plans)
    assert reversible.memory.total < checkpoint.memory.total < backprop.memory.total
    assert reversible.seconds is not None
    assert backprop.seconds is not None
    batch = planner.data.part(1)
    saved = reversible.seconds.step - backprop.seconds.step
    assert saved == pytest.approx(6 * COST.forward.layer.at(batch))
    assert [n for n, _ in strategies(planner, RUN.replace({"model.family": "residual"}))] == ["checkpoint", "backprop"]


@pytest.mark.slow
def test_strategies_of_an_equilibrium(planner: Planner) -> None:
    plans = dict(strategies(planner, RUN.replace({"model.family": "equilibrium", "model.depth": 30})))
    assert list(plans) == ["implicit", "phantom", "one-step", "reversible", "backprop"]
    assert plans["backprop"].memory.total > plans["implicit"].memory.total


def test_a_run_that_fits_stays_as_it_is(planner: Planner) -> None:
    found = fit(planner, RUN, Limits(memory_bytes=1e12))
    assert found is not None
    assert found.changes == ()
    assert found.plan.run == RUN


def test_a_run_is_made_to_fit_by_what_changes_least(planner: Planner) -> None:
    stored = RUN.replace({"model.gradient": "backprop", "model.depth": 40})
    by_strategy = fit(planner, stored, Limits(memory_bytes=80e6))
    assert by_strategy is not None
    assert by_strategy.plan.run == stored.replace({"model.gradient": "reversible"})
    by_parts = fit(planner, RUN, Limits(memory_bytes=25e6))
    assert by_parts is not None
    assert by_parts.plan.fits(Limits(memory_bytes=25e6))
    assert by_parts.plan.run.model == RUN.model
    assert any(change.startswith(f"parts={by_parts.plan.run.parts} instead of 1") for change in by_parts.changes)


def test_without_parts_to_cut_a_network_gets_shallower() -> None:
    """Pairs are predicted from the whole graph."""
    data = DataSize(**{**vars(proteins(20_000, 400_000)), "row": "pair", "num_rows": 5000, "num_train": 2500})
    planner = Planner(data, CPU)
    deep = run_of(model__conv="gcn", model__depth=3000, model__family="residual", model__checkpoint_every=1)
    limit = planner.plan(deep).needed_bytes / 2
    found = fit(planner, deep, Limits(memory_bytes=limit))
    assert found is not None
    assert 1000 < found.plan.run.model.depth < 2000
    assert found.changes == (f"model.depth={found.plan.run.model.depth} instead of 3000",)


# --- seconds ----------------------------------------------------------------------------------------------------------------------


def test_a_line_through_two_batches_returns_them() -> None:
    full, sparse = BatchSize(100, 4000, 100, 50), BatchSize(100, 1000, 100, 50)
    line = Line.through((full, 7.0), (sparse, 4.0))
    assert line.at(full) == pytest.approx(7.0)
    assert line.at(sparse) == pytest.approx(4.0)
    assert Line.through((full, 3.0), (sparse, 4.0)).per_edge == 0.0  # noise
    assert Line.through((full, 3.0), (sparse, 0.0)).per_node == 0.0


def test_seconds_of_a_run_add_up() -> None:
    data = proteins(1000, 50_000)
    run = run_of(epochs=20, parts=5, evaluation__parts=2, evaluation__views=3, evaluation__every=7, model__depth=10)
    seconds = COST.of(run, data)
    part, half = data.part(5), data.part(2)
    assert part == BatchSize(200, 2000, 200, 100)
    step = 1e-7 * 200 + 10 * (1e-6 * 200 + 1e-8 * 2000)
    assert seconds.step == pytest.approx(step)
    assert seconds.epoch == pytest.approx(5 * step + 1e-9 * 50_000)
    evaluation = 3 * (2 * (1e-8 * 500 + 10 * (2e-7 * 500 + 2e-9 * half.num_edges)) + 1e-9 * 50_000)
    assert seconds.evaluation == pytest.approx(evaluation)
    assert seconds.total == pytest.approx(20 * seconds.epoch + 3 * evaluation)
    wide = COST.of(run.replace({"model.channels": 64}), data)
    assert wide.step == pytest.approx(8 * step)  # (64 / 16) ** 1.5


def test_graphs_of_a_batch_have_room_to_vary() -> None:
    data = DataSize(**{**vars(proteins(1000, 8000)), "row": "graph", "num_rows": 100, "num_train": 60, "graph_deviation": 3.0})
    assert data.training_batch(1, 25) == BatchSize(280, 2240, 25, 25)  # 25 graphs of 10 nodes, and twice 5 times 3
    assert COST.of(run_of(graphs_per_batch=25), data).epoch == pytest.approx(3 * COST.of(run_of(graphs_per_batch=25), data).step)
