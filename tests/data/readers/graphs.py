"""Graphs that tests of several formats write, and the comparison of what revgnn reads with what networkx reads."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import torch

from revgnn.data import NodeDataset, TableOptions, load


def karate() -> nx.Graph:
    """Zachary's karate club: a real graph with weights and the club that each member chose."""
    return nx.karate_club_graph()


def les_miserables() -> nx.Graph:
    """Characters by name, as text with spaces and accents; the label is whether a character meets many others."""
    graph: Any = nx.les_miserables_graph()
    graph = nx.relabel_nodes(graph, {"Valjean": "Jean Valjean", "Eponine": "Éponine"})
    for node in graph:
        graph.nodes[node]["club"] = "many" if graph.degree(node) > 6 else "few"
        graph.nodes[node]["age"] = len(node) / 2
    return graph


def trade() -> nx.DiGraph:
    """A directed graph with a loop, an isolated node, and attributes that some nodes lack."""
    graph: Any = nx.gn_graph(30, seed=1)
    graph.add_edge(3, 3)
    graph.add_node(30)
    for node in graph:
        graph.nodes[node]["club"] = "ab"[node % 2]
        if node % 3:
            graph.nodes[node]["size"] = node * 1.5
    for i, (_, _, data) in enumerate(graph.edges(data=True)):
        data["weight"] = i + 0.5
    return graph


def doubled() -> nx.MultiDiGraph:
    """A directed graph in which pairs have several edges."""
    graph: Any = nx.MultiDiGraph()
    for node in range(12):
        graph.add_node(node, club="ab"[node % 2])
    for i in range(40):
        graph.add_edge(i % 12, (i * i) % 12, weight=float(i))
    return graph


GRAPHS = [karate, les_miserables, trade, doubled]
CLUB = TableOptions(labels=("club",))


def load_club(path: Path, **options: Any) -> NodeDataset:
    """Load a graph file with the labels `club`."""
    return load(str(path), tables=CLUB, cache=False, **options)


def assert_same_graph(dataset: NodeDataset, graph: Any, label: str | None = "club") -> None:
    """Assert that a data set has the nodes, edges, weights and labels of a graph that networkx read."""
    source = dataset.tables
    assert source is not None
    ids = [str(value) for value in source.ids.to_pylist()]
    assert ids == [str(node) for node in graph]
    at = {node: i for i, node in enumerate(graph)}
    pairs = [(at[source], at[target]) for source, target in graph.edges()]
    weights = [data.get("weight") for _, _, data in graph.edges(data=True)]
    if graph.is_directed():
        expected = Counter(pairs)
    else:
        # Each edge once in each direction.
        expected = Counter({pair for a, b in pairs for pair in ((a, b), (b, a))})
    found = list(zip(dataset.graph.src.tolist(), dataset.graph.dst.tolist(), strict=True))
    assert Counter(found) == expected
    if label is not None:
        names = [source.classes[y] for y in dataset.y.tolist()]
        assert [str(name) for name in names] == [str(graph.nodes[node][label]) for node in graph]
    varied = len(set(weights)) > 1
    assert ("weight" in [column.name for column in source.report.columns if column.features]) >= varied
    if varied:
        _assert_same_weights(dataset, pairs, [float(w) for w in weights], directed=graph.is_directed())


def _assert_same_weights(dataset: NodeDataset, pairs: list[tuple[int, int]], weights: list[float], *, directed: bool) -> None:
    """The feature is the weight, standardised: it has the same order and the same ratios of differences."""
    features = dataset.graph.edge_features(torch.float32)
    assert features is not None
    stored: dict[tuple[int, int], list[float]] = {}
    for (a, b), weight in zip(pairs, weights, strict=True):
        stored.setdefault((a, b) if directed else (min(a, b), max(a, b)), []).append(weight)
    found: dict[tuple[int, int], list[float]] = {}
    for a, b, value in zip(dataset.graph.src.tolist(), dataset.graph.dst.tolist(), features[:, 0].tolist(), strict=True):
        found.setdefault((a, b) if directed else (min(a, b), max(a, b)), []).append(value)
    x = np.array(
        [w for key in sorted(stored) for w in sorted(stored[key])] if directed else [np.mean(stored[k]) for k in sorted(stored)]
    )
    y = np.array(
        [v for key in sorted(found) for v in sorted(found[key])] if directed else [np.mean(found[k]) for k in sorted(found)]
    )
    slope, offset = np.polyfit(x, y, 1)
    assert slope > 0
    assert np.abs(slope * x + offset - y).max() < 1e-5 * np.abs(y).max()


def refuse(path: Path, **options: Any) -> str:
    """Return the message with which a file is refused: one line."""
    with pytest.raises(ValueError, match=r".") as error:
        load(str(path), cache=False, **options)
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 900
    return text
