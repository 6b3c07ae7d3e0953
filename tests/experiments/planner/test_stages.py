"""Plans of layers and weights over processes: a stage of a pipeline, and what is cut of the weights."""

from __future__ import annotations

from dataclasses import replace

import pytest

from revgnn.distributed.weights.mode import choose_segments
from revgnn.distributed.weights.pieces import spans_of
from revgnn.experiments.planner.memory import Rehearsals, stacked_layers
from revgnn.experiments.planner.rehearse import Memory
from revgnn.experiments.planner.size import DataSize
from revgnn.experiments.planner.spread.stages import Place, gradient_of, of_stage, rehearse_place, rehearse_stage, stage_of
from revgnn.experiments.planner.spread.weights import StackWeights
from revgnn.models import num_parameters
from revgnn.models.config import StackConfig
from revgnn.stack import Stack
from revgnn.train import RunConfig
from revgnn.train.run.session import prepare
from tests.experiments.planner.conftest import CPU, run_of


def stored(memory: Memory) -> float:
    return memory.state + memory.activations


def peak(data: DataSize, place: Place, depth: int = 2, **settings: object) -> Memory:
    run = run_of(model__depth=depth, model__dropout=0.0, **settings)
    return rehearse_stage(run, data, CPU, place).peak


def test_a_stage_stores_its_output_only(small: DataSize) -> None:
    """Whatever its depth, but for the gradients of its weights; and one for each part under way."""
    shallow, deep = peak(small, Place(2, 0, 2), 2), peak(small, Place(2, 0, 2), 6)
    assert 0 <= stored(deep) - stored(shallow) <= deep.weights - shallow.weights
    of_a_part = stored(peak(small, Place(3, 0, 3), 2)) - stored(shallow)
    assert of_a_part >= 4 * 200 * 16  # its output
    assert stored(peak(small, Place(3, 0, 3), 6)) - stored(deep) == of_a_part


@pytest.mark.parametrize("gradient", ["reversible", "checkpoint", "backprop"])
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_a_stage_keeps_nothing_of_parts_that_have_passed(small: DataSize, rank: int, gradient: str) -> None:
    """Neither what arrived, nor what was sent, nor their graphs: with twice as many parts it needs the same."""
    few, many = (peak(small, Place(3, rank, count), model__gradient=gradient) for count in (4, 8))
    assert few.total == pytest.approx(many.total, rel=1e-3)
    assert few.graph == many.graph


@pytest.mark.parametrize("place", [Place(6, 0, 7), Place(6, 5, 8), Place(7, 2, 3)], ids=str)
def test_a_long_pipeline_is_planned_from_short_ones(small: DataSize, place: Place) -> None:
    planned = rehearse_place(lambda each: Rehearsals(of_stage(each), small, CPU), run_of(), place)
    direct = rehearse_stage(run_of(), small, CPU, place)
    assert planned.peak.total == pytest.approx(direct.peak.total, rel=2e-3)
    assert planned.traffic.per_part == direct.traffic.per_part


def test_more_than_the_state_travels(small: DataSize) -> None:
    """The state of torch's generators, or twice the sums of shared weights: those of tied layers are all of them."""
    state = 4 * 200 * run_of().model.channels
    alone = rehearse_stage(run_of(), small, CPU, Place(2, 0, 2)).traffic
    assert state + 4 * 5000 <= alone.per_part < state + 4 * 6000
    tied = run_of(model__tied=True, model__depth=4, model__channels=64)
    shared = rehearse_stage(tied, small, CPU, Place(2, 0, 2))
    assert shared.traffic.summed > 0.5 * 4 * shared.parameters
    assert shared.traffic.per_part > 4 * 200 * 64 + shared.traffic.summed


def test_a_stage_has_the_segments_and_stored_states_of_its_layers() -> None:
    run = run_of(model__depth=12, model__segments=4)
    model = run.model
    assert isinstance(model, StackConfig)
    stage = stage_of(run, range(6, 12), gradient_of(model)).model
    assert (stage.depth, stage.segments) == (6, 2)  # pyright: ignore[reportAttributeAccessIssue]
    run = run_of(model__family="residual", model__depth=17)
    assert isinstance(run.model, StackConfig)
    stage = stage_of(run, range(8, 16), gradient_of(run.model)).model
    assert (stage.depth, stage.checkpoint_every) == (9, 4)  # pyright: ignore[reportAttributeAccessIssue]


NETWORKS = {
    "reversible": {"family": "reversible", "depth": 9, "channels": 8, "dropout": 0.1},
    "wide": {"family": "reversible", "depth": 7, "channels": 64, "norm": "batch"},
    "segments": {"family": "reversible", "depth": 9, "channels": 8, "segments": 3},
    "tied": {"family": "reversible", "depth": 6, "channels": 8, "tied": True},
    "residual": {"family": "residual", "depth": 8, "channels": 8},
    "stored": {"family": "residual", "depth": 8, "channels": 8, "gradient": "backprop"},
    "revgat": {"family": "revgat", "depth": 6, "channels": 12, "convolution": {"conv": "gat", "heads": 3}},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_are_planned_in_the_pieces_that_a_run_has(name: str) -> None:
    run = RunConfig.parse(
        {"data": {"name": "synthetic:nodes=240,degree=8,tasks=3"}, "model": NETWORKS[name], "parts": 2, "device": "cpu"}
    )
    session = prepare(run)
    data = DataSize.of(session.dataset)
    stack = next(m for m in session.model.modules() if isinstance(m, Stack))
    weights = StackWeights(run, data)
    assert weights.layers == len(stack.sequence) == stacked_layers(session.config.model)
    segments = weights.segments(run, data.training_batch(run.parts, 1))
    assert segments == len(spans_of(stack, choose_segments(session)))
    for ranks in (1, 2, 3):
        cut = weights.over(ranks, segments)
        assert cut.everywhere + cut.cut == pytest.approx(4 * num_parameters(session.model))
        assert cut.cut <= cut.padded <= cut.cut * 1.5
        assert cut.piece * cut.pieces >= cut.padded * 0.999
    assert weights.over(100_000, segments).cut == 0.0


def test_labels_as_inputs_are_weights_too(small: DataSize) -> None:
    run = run_of()
    more = StackWeights(run.model_copy(update={"label_inputs": 0.5}), small).over(2, 1)
    assert more.everywhere > StackWeights(run, small).over(2, 1).everywhere
    assert StackWeights(run, replace(small, num_edge_features=0)).over(2, 1).everywhere < more.everywhere
