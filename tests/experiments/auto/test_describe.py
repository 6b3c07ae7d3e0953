"""The profile of a graph: by hand on small graphs, and on real ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from revgnn.data import NodeDataset, Split, generate, load
from revgnn.experiments.auto.choice import choose
from revgnn.experiments.auto.describe import ENOUGH_EDGES, describe, eccentricity, homophily
from revgnn.graph import Graph
from revgnn.testing.graphs import NamedGraph, awkward_graphs


def dataset(graph: Graph, y: torch.Tensor, train: torch.Tensor, x: torch.Tensor | None = None) -> NodeDataset:
    none = torch.zeros(0, dtype=torch.int64)
    return NodeDataset(
        name="a",
        graph=graph,
        x=torch.rand(graph.num_nodes, 3) if x is None else x,
        y=y,
        task="multiclass",
        num_outputs=max(2, int(y.max()) + 1),
        metric="accuracy",
        splits=(Split(train, none, none),),
        trainable=False,
    )


def random_dataset(num_nodes: int = 300, edges: int = 3_000) -> NodeDataset:
    graph = Graph.from_edge_index(torch.randint(0, num_nodes, (2, edges)), num_nodes)
    return dataset(graph, torch.randint(0, 3, (num_nodes,)), torch.arange(num_nodes))


def both_ways(pairs: list[tuple[int, int]], num_nodes: int) -> Graph:
    edges = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).t()
    return Graph.from_edge_index(torch.cat([edges, edges.flip(0)], 1), num_nodes)


@pytest.mark.parametrize("named", awkward_graphs(), ids=str)
def test_every_awkward_graph_has_a_profile(named: NamedGraph) -> None:
    graph = named.graph
    y = torch.arange(graph.num_nodes) % 2
    profile = describe(dataset(graph, y, torch.arange(graph.num_nodes)))
    assert (profile.num_nodes, profile.num_edges) == (graph.num_nodes, graph.num_edges)
    assert profile.eccentricity is not None
    assert len(choose(profile).lines()) == 10


@pytest.mark.parametrize(("graph", "expected"), [
    (both_ways([(i, i + 1) for i in range(49)], 50), 49),
    (both_ways([(0, i) for i in range(1, 30)], 30), 2),
    (both_ways([], 5), 0),
    (Graph.from_edge_index(torch.tensor([[0, 1, 2], [1, 2, 3]]), 4), 3),
])  # fmt: skip
def test_the_eccentricity_of_paths_and_stars(graph: Graph, expected: int) -> None:
    assert eccentricity(graph) == expected


def test_homophily_at_its_extremes() -> None:
    """1 if all edges join equal labels, near 0 for random labels, negative if all join different ones."""
    nodes = 2 * ENOUGH_EDGES
    y = torch.arange(nodes) % 2
    alike = both_ways([(i, (i + 2) % nodes) for i in range(nodes)], nodes)
    unlike = both_ways([(i, (i + 1) % nodes) for i in range(nodes)], nodes)
    every = torch.arange(nodes)
    assert homophily(dataset(alike, y, every)) == pytest.approx(1.0)
    assert homophily(dataset(unlike, y, every)) == pytest.approx(-1.0)
    assert homophily(random_dataset()) == pytest.approx(0.0, abs=0.05)


def test_homophily_sees_training_labels_only() -> None:
    data = random_dataset()
    train = torch.arange(150)
    part = dataset(data.graph, data.y, train)
    hidden = data.y.clone()
    hidden[150:] = (hidden[150:] + 1) % 3
    assert homophily(part) == homophily(dataset(data.graph, hidden, train))
    assert homophily(dataset(data.graph, data.y, torch.arange(3))) is None


def test_homophily_does_not_depend_on_the_order_or_names_of_classes() -> None:
    data = random_dataset()
    renamed = replace(data, y=torch.tensor([2, 0, 1])[data.y])
    assert homophily(renamed) == pytest.approx(homophily(data))
    order = torch.randperm(data.num_nodes)
    edge_index = order[data.graph.edge_index.long()]
    moved = torch.empty_like(data.y)
    moved[order] = data.y
    again = dataset(Graph.from_edge_index(edge_index, data.num_nodes), moved, torch.arange(data.num_nodes))
    assert homophily(again) == pytest.approx(homophily(data))


def test_homophily_of_several_labels() -> None:
    data = generate(300)
    found = homophily(data)
    assert found is not None
    assert 0 < found <= 1
    missing = replace(data, y=torch.full_like(data.y, torch.nan), trainable=False)
    assert homophily(missing) is None


@pytest.mark.parametrize(("x", "kind"), [
    (torch.randn(300, 4), "mixed"),
    ((torch.rand(300, 4) > 0.5).float(), "flags"),
    ((torch.rand(300, 90) > 0.9).float(), "words"),
    (torch.rand(300, 90), "mixed"),
    (torch.zeros(300, 2), "flags"),
])  # fmt: skip
def test_the_kind_of_features(x: torch.Tensor, kind: str) -> None:
    data = random_dataset()
    assert describe(replace(data, x=x)).feature_kind == kind


def test_features_of_uneven_scales() -> None:
    x = torch.randn(300, 3) * torch.tensor([1.0, 1000.0, 0.0])
    assert 900 < describe(replace(random_dataset(), x=x)).uneven < 1100


def test_a_data_set_with_species_only() -> None:
    data = replace(random_dataset(), x=None, species=torch.zeros(300, dtype=torch.int64), num_species=1)
    assert describe(data).feature_kind == "none"


EXPECTED = {"tolokers": "dense", "minesweeper": "far", "cora": "few labels", "computers": "alike", "squirrel": "words"}


@pytest.mark.parametrize("name", EXPECTED)
def test_the_regime_of_real_graphs(name: str, real_data: Path) -> None:
    from revgnn.experiments.auto.rules import regime

    source = str(real_data / "wiki_filtered/squirrel_filtered.npz") if name == "squirrel" else name
    folder = {"cora": "planetoid", "computers": "amazon"}.get(name, "heterophilous")
    data = load(source, real_data / folder, cache=False)
    profile = describe(data)
    assert regime(profile) == EXPECTED[name]
    assert profile == describe(data)
    # and it does not go by the name
    assert describe(replace(data, name="another")) == profile
    degrees = np.bincount(data.graph.dst.numpy())
    assert profile.max_degree == degrees.max()
