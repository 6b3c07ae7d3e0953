"""Graphs that need distance: labels by the definition, and nothing to be known within fewer hops than the horizon."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import networkx
import numpy as np
import pytest
import torch

from revgnn.data import NodeDataset, catalogue, load
from revgnn.data.generated.registry import GENERATORS, generator_of, horizon_of, make
from revgnn.experiments.auto.for_run import choice_for
from revgnn.train import RunConfig
from revgnn.train.run.session import prepare

SMALL = {
    "road-beacons": "road-beacons:nodes=1600,hops=6,bits=3",
    "ring-transfer": "ring-transfer:rings=20,hops=5,classes=3",
    "tree-match": "tree-match:trees=20,hops=3,classes=3",
}
NAMES = list(SMALL.values())


def shifts(name: str) -> list[NodeDataset]:
    """Return the data set under every shift of what the far nodes say."""
    data = make(name)
    count = 2 if data.task == "multilabel" else data.num_outputs
    return [make(f"{name},shift={shift}") for shift in range(count)]


def as_networkx(data: NodeDataset) -> networkx.Graph:
    graph = networkx.Graph(zip(data.graph.src.tolist(), data.graph.dst.tolist(), strict=True))
    graph.add_nodes_from(range(data.num_nodes))
    return graph


def scored(data: NodeDataset) -> torch.Tensor:
    return torch.cat([data.split.valid, data.split.test])


# --- labels against breadth-first search ----------------------------------------------------------------------------------


def test_a_node_of_the_road_says_what_the_nearest_beacon_sends() -> None:
    data, horizon = make(NAMES[0]), horizon_of(NAMES[0])
    assert data.x is not None
    assert horizon is not None
    graph, beacons = as_networkx(data), data.x[:, 3].nonzero().flatten().tolist()
    assert networkx.is_connected(graph)
    assert networkx.check_planarity(graph)[0]
    assert 2.2 < data.graph.num_edges / data.num_nodes < 2.7
    hops = {beacon: networkx.single_source_shortest_path_length(graph, beacon) for beacon in beacons}
    for first in beacons:
        assert all(hops[first][other] >= 1.75 * horizon.hops for other in beacons if other != first)
    known = ~data.y.isnan().any(dim=1)
    for node in known.nonzero().flatten().tolist():
        first, second = sorted(beacons, key=lambda beacon: hops[beacon][node])[:2]
        assert hops[second][node] >= hops[first][node] + 2
        assert torch.equal(data.y[node], (data.x[first, :3] > 0).float())
    assert all(bool(known[part].all()) for part in (data.split.train, data.split.valid, data.split.test))
    nearest = {node: min(beacons, key=lambda beacon: hops[beacon][node]) for node in range(data.num_nodes)}
    parts = [{nearest[int(node)] for node in part} for part in (data.split.train, data.split.valid, data.split.test)]
    assert sum(map(len, parts)) == len(set.union(*parts))
    for node in scored(data).tolist():
        assert horizon.hops <= hops[nearest[node]][node] <= horizon.reach


def test_a_target_says_what_the_opposite_node_has() -> None:
    data = make(NAMES[1])
    assert data.x is not None
    graph = as_networkx(data)
    rings = list(networkx.connected_components(graph))
    assert len(rings) == 20
    assert all(degree == 2 for _, degree in graph.degree)
    for ring in rings:
        (source,) = (node for node in ring if data.x[node, 3] == 1)
        (target,) = (node for node in ring if data.x[node, 4] == 1)
        assert networkx.shortest_path_length(graph, source, target) == 5
        assert data.x[source, :3].argmax() == data.y[target]
        trains = target in data.split.train.tolist()
        assert all(data.y[node] == (data.y[target] if trains else -1) for node in ring if node != target)
    alone = make(f"{NAMES[1]},near=0")
    assert len(alone.split.train) == 10
    assert torch.equal(alone.y[scored(data)], data.y[scored(data)])
    assert torch.equal(scored(alone), scored(data))


def test_a_root_says_the_value_of_the_leaf_it_asks_for() -> None:
    data = make(NAMES[2])
    assert data.x is not None
    graph = as_networkx(data)
    trees = list(networkx.connected_components(graph))
    assert len(trees) == 20
    for tree in trees:
        assert networkx.is_tree(graph.subgraph(tree))
        (root,) = (node for node in tree if data.x[node, -2] == 1)
        leaves = [node for node in tree if graph.degree[node] == 1]
        assert {networkx.shortest_path_length(graph, root, leaf) for leaf in leaves} == {3}
        keys = {int(data.x[leaf, 3:11].argmax()): leaf for leaf in leaves}
        assert sorted(keys) == list(range(8))
        asked = keys[int(data.x[root, 3:11].argmax())]
        assert data.x[asked, :3].argmax() == data.y[root]


# --- the horizon ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES, ids=SMALL)
def test_within_the_horizon_nothing_tells_the_label(name: str) -> None:
    """Shifts leave all that is nearer than `hops` as it is, and give each scored node every label once.

    So a function of nearer nodes has the same value under all shifts. It is right under one of C; of two bits, its ROC-AUC for the
    labels and that for the opposite ones sum to 1. Over the shifts, which are equally likely, its mean score is `chance`.
    """
    horizon, each = horizon_of(name), shifts(name)
    assert horizon is not None
    assert horizon.chance == 1 / len(each)
    first = each[0]
    assert first.x is not None
    nodes = scored(first)
    for data in each:
        assert torch.equal(data.graph.src, first.graph.src)
        assert torch.equal(scored(data), nodes)
    labels = torch.stack([data.y[nodes] for data in each])
    assert torch.equal(
        labels.sort(dim=0).values, torch.arange(len(each)).to(labels).view(-1, *[1] * (labels.dim() - 1)).expand_as(labels)
    )
    graph = as_networkx(first)
    changed = torch.stack([(data.x != first.x).any(dim=1) for data in each if data.x is not None]).any(dim=0)
    for node in nodes.tolist():
        near = networkx.single_source_shortest_path_length(graph, node, cutoff=horizon.hops - 1)
        assert not any(changed[u] for u in near)
        farther = networkx.single_source_shortest_path_length(graph, node, cutoff=horizon.reach)
        assert any(changed[u] for u in farther)


@pytest.mark.parametrize("name", NAMES, ids=SMALL)
def test_a_network_with_too_few_rounds_says_the_same_under_all_shifts(name: str) -> None:
    """To the last bit, and a network with one round more does not."""
    horizon = horizon_of(name)
    assert horizon is not None
    outputs: dict[int, list[torch.Tensor]] = {}
    for rounds in (horizon.hops - 1, horizon.reach):
        settings: dict[str, Any] = {"family": "residual", "depth": rounds, "channels": 8, "conv": "sage", "aggregation": "mean"}
        config = RunConfig.parse({"data": {"name": name}, "model": settings, "device": "cpu"})
        outputs[rounds] = []
        for data in shifts(name):
            session = prepare(config, data)
            batch, model = session.batches.whole, session.model.eval()
            with torch.no_grad():
                outputs[rounds].append(model(batch.graph, batch.x)[scored(data)])
    assert all(torch.equal(a, b) for a, b in pairwise(outputs[horizon.hops - 1]))
    assert not any(torch.equal(a, b) for a, b in pairwise(outputs[horizon.reach]))


def test_bits_of_each_part_are_balanced() -> None:
    data = make("road-beacons:nodes=6400,hops=6,bits=4")
    assert data.x is not None
    for part in (data.split.train, data.split.valid, data.split.test):
        assert ((data.y[part].mean(dim=0) - 0.5).abs() < 0.3).all()


# --- names ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES, ids=SMALL)
def test_seeds(name: str) -> None:
    one, same, other = make(name), load(name), load(f"{name},seed=1")
    assert one.x is not None
    assert same.x is not None
    assert torch.equal(one.x, same.x)
    assert torch.equal(one.graph.src, same.graph.src)
    assert torch.equal(one.y.nan_to_num(nan=-1), same.y.nan_to_num(nan=-1))
    assert other.x is None or other.x.shape != one.x.shape or not torch.equal(one.x, other.x)
    assert same.name == name


def test_a_generated_graph_without_edge_features_takes_self_loops() -> None:
    """As preset auto wants them where neighbours are alike."""
    plain, looped = load("ring-transfer:rings=20,hops=3"), load("ring-transfer:rings=20,hops=3", self_loops=True)
    assert looped.graph.num_edges == plain.graph.num_edges + plain.graph.num_nodes
    run = RunConfig().replace({"data.name": "ring-transfer:rings=20,hops=3"})
    chosen = choice_for(run)
    assert chosen.changes["data.self_loops"] is True
    assert prepare(run.replace(chosen.changes)).dataset.graph.num_edges == looped.graph.num_edges


def test_every_generator_is_in_the_catalogue() -> None:
    entries = {entry.name: entry for entry in catalogue() if entry.kind == "generated"}
    assert entries.keys() == GENERATORS.keys()
    for name in SMALL:
        data, entry = make(name), entries[name]
        assert data.x is not None
        assert (data.x.shape[1], data.num_outputs, data.metric, data.task) == (
            entry.num_features,
            entry.num_outputs,
            entry.metric,
            entry.task,
        )
    assert generator_of("Road_Beacons:hops=4") == "road-beacons"
    assert generator_of("cora") is None
    assert horizon_of("cora") is None
    assert horizon_of("synthetic:nodes=400") is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ring-transfer:length=3", "has no argument 'length'; it has rings, hops, classes, near, shift, seed"),
        ("ring-transfer:hops=far", "hops must be a whole number"),
        ("ring-transfer:rings=2", "rings must be 10 or more"),
        ("tree-match:hops=11", "hops 1 to 10"),
        ("road-beacons:nodes=100", "too few; ask for more nodes, or fewer hops"),
        ("road-beacons:shift=2", "shift 0 or 1"),
    ],
)
def test_arguments_that_cannot_be(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(name)


def test_chance_is_what_a_guess_scores() -> None:
    """Over many rings, a guess is right once in C."""
    data = make("ring-transfer:rings=4000,hops=1,near=0")
    labels = data.y[data.y >= 0].numpy()
    shares = np.bincount(labels, minlength=5) / len(labels)
    assert np.abs(shares - 0.2).max() < 4 * (0.2 * 0.8 / 4000) ** 0.5
