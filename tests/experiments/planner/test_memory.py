"""The memory of a plan is that of the step: to the byte where it is rehearsed, and where it is extrapolated in depth."""

from __future__ import annotations

import pytest
import torch

from revgnn.experiments import all_tables
from revgnn.experiments.planner.for_run import planner_for
from revgnn.experiments.planner.memory import Rehearsals
from revgnn.experiments.planner.plan import Planner
from revgnn.experiments.planner.rehearse import Memory, rehearse_evaluation, rehearse_step
from revgnn.experiments.planner.size import DataSize
from revgnn.experiments.presets import all_presets, get_preset
from tests.experiments.planner.conftest import CPU, measured_peak, proteins, run_of

ATTENTION = {"model__family": "revgat", "model__conv": "gat"}


def slow(*values: object) -> object:
    return pytest.param(*values, marks=pytest.mark.slow)


NETWORKS = [
    {"model__family": "residual"},
    {"model__conv": "gcn", "model__norm": "batch", "model__state": "float64", "amp": "bf16"},
    {**ATTENTION, "model__depth": 4, "label_inputs": 0.5, "label_reuse": 1},
    slow({"class_weights": (1.0,) * 112, "distillation": {"teacher": "a"}}),
    slow({"model__groups": 4, "amp": "bf16"}),
    slow({"model__family": "residual", "model__gradient": "backprop", "optim__name": "rmsprop"}),
    slow({"model__tied": True, "model__depth": 4, "model__conv": "sage", "model__aggregation": "mean"}),
    slow({"model__aggregation": "softmax", "model__learn_aggregation": True}),
]


@pytest.mark.parametrize("changes", NETWORKS, ids=lambda changes: "-".join(changes))
def test_a_shallow_network_is_planned_to_the_byte(changes: dict[str, object], small: DataSize) -> None:
    """Except for labels as inputs: the plan takes all for shown and all for hidden, where a step shows half."""
    run = run_of(**changes)
    plan, measured = Planner(small, CPU).plan(run), measured_peak(run, small)
    if run.label_inputs:
        assert measured <= plan.memory.total <= 1.02 * measured
    else:
        assert plan.memory.total == measured


@pytest.mark.parametrize("gradient", ["reversible", slow("checkpoint"), slow("backprop")])
def test_a_network_that_skips_layers_is_planned_for_a_step_that_skips_none(gradient: str, small: DataSize) -> None:
    run = run_of(model__gradient=gradient)
    never, often = (run.replace({"model.stochastic_depth": rate}) for rate in (1e-9, 0.9))
    planned = Planner(small, CPU).plan(often)
    assert planned.memory.total == measured_peak(never, small)
    assert measured_peak(often, small) <= planned.memory.total
    assert planned.evaluation == Planner(small, CPU).plan(run).evaluation
    # what a block gives is multiplied: one gradient of the state of a group more
    more = planned.memory.total - Planner(small, CPU).plan(run).memory.total
    assert 0 <= more <= 4 * small.num_nodes * run.model.channels / run.model.groups


@pytest.mark.parametrize("size", [(1, 0), (37, 600), slow((5, 0)), slow((2000, 12))], ids=str)
def test_awkward_sizes_are_planned_to_the_byte(size: tuple[int, int]) -> None:
    data = proteins(*size)
    assert Planner(data, CPU).plan(run_of()).memory.total == measured_peak(run_of(), data)


@pytest.mark.parametrize("method", ["anderson", slow("broyden"), slow("reversible"), slow("fixed-point")])
def test_an_equilibrium_is_planned_for_a_full_history(method: str, small: DataSize) -> None:
    """A solve that never reaches its tolerance needs what is planned, and none needs more."""
    run = run_of(model__family="equilibrium", model__depth=4, model__conv="gcn", model__solver={"method": method, "rtol": 1e-12})
    planned = Planner(small, CPU).plan(run).memory.total
    assert planned == pytest.approx(measured_peak(run, small), rel=0.02)
    loose = run.replace({"model.solver": {"method": method, "rtol": 0.5}})
    assert measured_peak(loose, small) <= 1.001 * planned


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model__gradient": "backprop"},
        {"model__family": "residual", "model__depth": 15, "model__checkpoint_every": 3},
        slow({"model__segments": 3}),
        slow({"model__gradient": "checkpoint", "model__checkpoint_every": 6, "model__depth": 18}),
        slow({"model__family": "residual", "model__gradient": "backprop", "model__depth": 17}),
        slow({**ATTENTION, "model__depth": 20, "model__gradient": "backprop"}),
        slow({"model__tied": True}),
    ],
    ids=str,
)
def test_a_deep_network_is_planned_as_if_rehearsed(changes: dict[str, object], small: DataSize) -> None:
    run = run_of(**{"model__depth": 14, "model__conv": "gcn", **changes})
    whole = rehearse_step(run, small, CPU)
    planned = Rehearsals(rehearse_step, small, CPU).of(run)
    assert planned.parameters == whole.parameters
    assert planned.peak.total == pytest.approx(whole.peak.total, rel=0.01)
    evaluated = Rehearsals(rehearse_evaluation, small, CPU).of(run)
    assert evaluated.peak.total == pytest.approx(rehearse_evaluation(run, small, CPU).peak.total, rel=0.01)


def test_parts_add_up_and_mean_what_they_say(small: DataSize) -> None:
    found = rehearse_step(run_of(), small, CPU)
    weights = 4 * found.parameters
    peak = max(found.peaks.values(), key=lambda memory: memory.total)
    assert isinstance(peak, Memory)
    assert peak.weights == weights
    assert peak.optimizer == pytest.approx(2 * weights, rel=0.01)  # and a counter for each tensor
    assert found.peaks["update"].gradients == weights
    assert peak.graph == 4 * 2400 * (8 + 1 + 2) + 2 * 8 * 201  # features, sources; by source: destinations and positions
    assert peak.total == sum(peak)
    backprop = rehearse_step(run_of(model__gradient="backprop", model__depth=8), small, CPU).peak
    layers = 4 * 8 * 2 * 200 * 8  # bytes of a state in each: 2 groups, 200 nodes, 8 channels
    assert backprop.state - rehearse_step(run_of(model__depth=8), small, CPU).peak.state > 2 * layers


def test_memory_of_reversible_networks_is_flat_in_depth_but_for_weights() -> None:
    planner = Planner(proteins(100_000, 2_000_000), CPU)
    low, high = (planner.plan(run_of(model__depth=depth, model__tied=True)).memory.total for depth in (50, 1000))
    assert high == pytest.approx(low, rel=0.01)
    low, high = (planner.plan(run_of(model__depth=depth, model__gradient="backprop")).memory.state for depth in (50, 1000))
    assert high > 15 * low


def test_nothing_of_the_size_of_the_plan_is_allocated() -> None:
    run = get_preset("revgnn-wide").replace({"model.channels": 4096, "parts": 1, "device": "cpu"})
    plan = Planner(proteins(10**9, 10**11), CPU).plan(run)
    assert plan.memory.total > 1e13


def test_torchs_random_numbers_stay_as_they_are(small: DataSize) -> None:
    before = torch.get_rng_state()
    Planner(small, CPU).plan(run_of())
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", ["revgnn-wide", slow("resgnn-224"), slow("wt-revgnn-64"), slow("deq-gnn-64"), slow("revgat")])
def test_rows_of_the_paper_need_no_files(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    preset = next(p for p in all_presets() if p.name == name)
    plan = planner_for(preset.run.replace({"device": "cpu"}), timed=False).plan(preset.run)
    assert plan.parameters == preset.parameters


@pytest.mark.slow
def test_every_row_of_the_paper_can_be_planned() -> None:
    for row in {row.preset.name: row for table in all_tables() for row in table.rows}.values():
        plan = planner_for(row.run.replace({"device": "cpu"}), timed=False).plan(row.run)
        assert plan.parameters == row.parameters, row.preset.name
        assert plan.memory.total > 0
