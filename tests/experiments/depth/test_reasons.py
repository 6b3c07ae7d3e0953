"""Laws of influence, energy and rank: what distance and depth must do to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import networkx
import numpy as np
import pytest
import torch

from revgnn import Graph
from revgnn.data import NodeDataset, Split, load
from revgnn.experiments.depth.influence import hops_to, influence
from revgnn.experiments.depth.reasons import reasons_of, rounds_of
from revgnn.experiments.depth.states import dirichlet_energy, effective_rank
from revgnn.experiments.run_report.depth_profile import stack_of, watched
from revgnn.train import RunConfig, train
from revgnn.train.run.session import Session, prepare


def path_graph(nodes: int) -> Graph:
    """Return a path, in both directions."""
    line = torch.stack([torch.arange(nodes - 1), torch.arange(1, nodes)])
    return Graph.from_edge_index(torch.cat([line, line.flip(0)], dim=1), nodes)


def session_on(graph: Graph, outputs: int, test: Sequence[int], **model: Any) -> Session:
    """Return an untrained run on random features of a graph."""
    torch.manual_seed(0)
    n = graph.num_nodes
    split = Split(torch.tensor([0, 1]), torch.tensor([2, 3]), torch.tensor(list(test)))
    y = torch.zeros(n, outputs)
    y[0] = 1
    data = NodeDataset("path", graph, torch.randn(n, 3), y, "multilabel", outputs, "rocauc", (split,))
    settings = {"channels": 16, "conv": "sage", "aggregation": "mean", **model}
    return prepare(RunConfig.parse({"data": {"name": "path"}, "model": settings, "device": "cpu"}), data)


FAMILIES = [
    ({"depth": 3}, 6),
    ({"depth": 3, "groups": 4}, 12),
    ({"depth": 4, "tied": True, "unit": "single"}, 8),
    ({"depth": 4, "tied": True}, 8),
    ({"family": "residual", "depth": 5}, 5),
    ({"family": "residual", "depth": 4, "tied": True}, 4),
    ({"family": "revgat", "depth": 4, "conv": "gat", "heads": 1, "norm": "layer"}, 6),
]


@pytest.mark.parametrize(("model", "rounds"), FAMILIES)
def test_no_influence_comes_from_farther_than_messages(model: dict[str, Any], rounds: int) -> None:
    """Exactly none from beyond the rounds of messages, and some from each hop within."""
    session = session_on(path_graph(40), 2, [39], **model)
    assert rounds_of(session.model) == rounds
    found = influence(session, rounds)
    assert found is not None
    assert found.beyond == 0.0
    assert len(found.by_hop) == rounds + 1
    assert all(value > 0 for value in found.by_hop)
    assert found.hops_of_half <= found.hops_of_most <= rounds


@pytest.mark.parametrize("gradient", ["reversible", "backprop"])
def test_influence_is_that_of_the_whole_jacobian(gradient: str) -> None:
    session = session_on(path_graph(12), 3, [5, 9], depth=2, gradient=gradient)
    found = influence(session, 4, nodes=2)
    assert found is not None
    batch, model = session.batches.whole, session.model.eval()
    assert batch.x is not None
    jacobian = torch.autograd.functional.jacobian(lambda x: model(batch.graph, x), batch.x)  # (N, T, N, F)
    assert isinstance(jacobian, torch.Tensor)
    squares = jacobian.double().square().sum(dim=(1, 3))
    expected = [np.mean([sum(float(squares[v, u]) for u in range(12) if abs(u - v) == h) for v in (5, 9)]) for h in range(5)]
    assert found.by_hop == pytest.approx(expected, rel=1e-4)
    assert found.exact


def test_random_probes_are_unbiased() -> None:
    """With more outputs than probes, the mean over many probes is the sum over all outputs."""
    session = session_on(path_graph(12), 7, [5], depth=2, gradient="backprop")
    batch, model = session.batches.whole, session.model.eval()
    assert batch.x is not None
    jacobian = torch.autograd.functional.jacobian(lambda x: model(batch.graph, x)[5], batch.x)
    assert isinstance(jacobian, torch.Tensor)
    exact = float(jacobian.square().sum())
    found = [influence(session, 11, nodes=1, seed=seed) for seed in range(150)]
    totals = [sum(each.by_hop) for each in found if each is not None]
    assert not any(each.exact for each in found if each is not None)
    assert np.mean(totals) == pytest.approx(exact, abs=4 * np.std(totals) / len(totals) ** 0.5)
    assert np.std(totals) > 0


def test_looking_changes_nothing() -> None:
    session = session_on(path_graph(12), 2, [5], depth=2, norm="batch")
    before = {name: value.clone() for name, value in session.model.state_dict().items()}
    session.model.train()
    influence(session, 4)
    assert session.model.training
    assert all(torch.equal(value, before[name]) for name, value in session.model.state_dict().items())
    assert all(p.grad is None for p in session.model.parameters())


def test_hops_are_those_of_networkx(real_data: Path) -> None:
    graph = load("cora", real_data).graph
    tree = networkx.DiGraph(zip(graph.src.tolist(), graph.dst.tolist(), strict=True))
    found = hops_to(graph, [0, 1708])
    for row, node in enumerate((0, 1708)):
        ways = networkx.single_target_shortest_path_length(tree, node)
        expected = dict(ways) if not isinstance(ways, dict) else ways
        assert {u: int(h) for u, h in enumerate(found[row]) if h >= 0} == expected


def test_hops_go_along_the_edges() -> None:
    graph = Graph.from_edge_index(torch.tensor([[0, 1], [1, 2]]), 3)
    assert hops_to(graph, [2, 0]).tolist() == [[2, 1, 0], [0, -1, -1]]


# --- states ---------------------------------------------------------------------------------------------------------------


def test_energy_of_known_states(real_data: Path) -> None:
    graph = load("cora", real_data).graph
    n = graph.num_nodes
    assert dirichlet_energy(torch.full((n, 4), 3.7), graph) == 0.0
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(n, 64, generator=generator)
    energy = dirichlet_energy(noise, graph)
    assert energy == pytest.approx(1.0, abs=0.02)
    assert dirichlet_energy(5 * noise + 2, graph) == pytest.approx(energy, rel=1e-5)
    ring = Graph.from_edge_index(torch.stack([torch.arange(10), (torch.arange(10) + 1) % 10]), 10)
    alternating = (torch.arange(10) % 2).double().unsqueeze(1)
    assert dirichlet_energy(alternating, ring) == pytest.approx(2.0)
    wave = torch.cos(2 * torch.pi * torch.arange(10) / 10).unsqueeze(1)  # an eigenvector of the ring
    assert dirichlet_energy(wave, ring) == pytest.approx(1 - np.cos(2 * np.pi / 10), rel=1e-6)
    loops = Graph.from_edge_index(torch.arange(10).repeat(2, 1), 10)
    assert dirichlet_energy(wave, loops) == 0.0


def test_ranks_of_known_states() -> None:
    generator = torch.Generator().manual_seed(0)
    assert effective_rank(torch.ones(30, 8)) == 0.0
    column = torch.randn(30, 1, generator=generator)
    assert effective_rank(column @ torch.randn(1, 8, generator=generator)) == pytest.approx(1.0, abs=1e-4)
    signs = torch.cat([torch.eye(6), -torch.eye(6)])
    assert effective_rank(signs) == pytest.approx(6.0)
    assert effective_rank(100 * signs + 5) == pytest.approx(6.0)


def test_a_layer_that_is_used_again_is_noted_in_each_place() -> None:
    session = session_on(path_graph(12), 2, [5], depth=4, tied=True, unit="single")
    stack = stack_of(session.model)
    assert stack is not None
    places: list[int] = []
    with watched(stack, lambda place, before, after: places.append(place)):
        session.model(session.batches.whole.graph, session.batches.whole.x)
    assert places == [0, 1, 2, 3]


def test_reasons_of_a_run(tmp_path: Path) -> None:
    config = RunConfig.parse(
        {
            "data": {"name": "synthetic:nodes=240,degree=8,tasks=3"},
            "model": {"depth": 3, "channels": 8},
            "epochs": 1,
            "label_inputs": 0.5,
            "evaluation": {"parts": 2},
            "device": "cpu",
        }
    )
    train(config, tmp_path / "a")
    found = reasons_of(tmp_path / "a", device="cpu")
    assert found["rounds"] == 6
    assert found["influence"]["beyond"] == 0.0
    assert len(found["states"]["rank"]) == len(found["states"]["dirichlet"]) == 4
    assert all(0 < rank <= 8 for rank in found["states"]["rank"])
    assert len(found["profile"]["gradient"]) == len(found["profile"]["state"]) == 3


def test_graphs_and_pairs_have_no_influence_by_node() -> None:
    session = session_on(path_graph(12), 2, [5], depth=2)
    session.dataset = replace(session.dataset, x=None, species=torch.zeros(12, dtype=torch.int64), num_species=1)
    assert influence(session, 4) is None
