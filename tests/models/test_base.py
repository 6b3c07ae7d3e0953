"""What training asks of the networks of all families."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from revgnn.graph import Graph
from revgnn.models import AbstractModel, ModelConfig, TrainingState, build_model

pytestmark = pytest.mark.filterwarnings("ignore:an equilibrium was not solved")

NODES = 20
FAMILIES = [{"family": family} for family in ModelConfig.FAMILIES]
WARM = {"family": "equilibrium", "solver": {"warm_start": True, "jacobian_weight": 0.1}}


@pytest.fixture(scope="module")
def graph() -> Graph:
    torch.manual_seed(0)
    return Graph.from_edge_index(torch.randint(0, NODES, (2, 80)), NODES)


def build(**settings: Any) -> AbstractModel:
    torch.manual_seed(0)
    return build_model(ModelConfig(channels=8, depth=4, **settings), in_channels=5, out_channels=2)


@pytest.mark.parametrize("settings", FAMILIES, ids=lambda s: s["family"])
def test_every_network_answers(settings: dict, graph: Graph) -> None:
    model = build(**settings)
    x, nodes = torch.rand(NODES, 5), torch.arange(NODES)
    assert model(graph, x, nodes=nodes).shape == (NODES, 2)
    assert model.auxiliary_loss is None
    state = model.training_state()
    assert not state.tensors
    solves = model.take_solves()
    if settings["family"] == "equilibrium":
        assert state.values.keys() == {"solves"}
        assert solves is not None
        assert solves.solves == 1
    else:
        assert state == TrainingState()
        assert solves is None
        model.restore_training_state(TrainingState({"other": x}, {"other": 1}))


def test_an_equilibrium_restores_its_last_solutions_and_its_solves(graph: Graph) -> None:
    model, other = build(**WARM), build(**WARM)
    x = torch.rand(NODES, 5)
    model(graph, x)
    assert model.auxiliary_loss is not None
    state = model.training_state()
    assert state.tensors.keys() == {"warm_start.states", "warm_start.known"}
    other.restore_training_state(TrainingState({**state.tensors, "model.weight": x}, {**state.values, "format": 1}))
    for name, tensor in other.training_state().tensors.items():
        assert torch.equal(tensor, state.tensors[name])
    assert other.take_solves() == model.take_solves()


@pytest.mark.parametrize(
    ("settings", "obstacle"),
    [
        *((settings, None) for settings in FAMILIES if settings["family"] != "equilibrium"),
        ({"family": "equilibrium", "gradient": "backprop"}, None),
        ({"family": "equilibrium"}, "an equilibrium cannot be recorded in a CUDA graph"),
        ({"family": "revgat", "edge_dropout": 0.1}, "edge_dropout cannot be recorded in a CUDA graph"),
        ({"family": "residual", "conv": "gat", "edge_dropout": 0.1}, "edge_dropout cannot be recorded in a CUDA graph"),
    ],
    ids=str,
)
def test_what_keeps_a_step_from_being_captured(settings: dict, obstacle: str | None) -> None:
    found = build(**settings).capture_obstacle()
    assert (found is None) == (obstacle is None)
    assert obstacle is None or (found or "").startswith(obstacle)


def test_edge_dropout_is_no_obstacle_in_evaluation() -> None:
    assert build(family="revgat", edge_dropout=0.1).eval().capture_obstacle() is None
