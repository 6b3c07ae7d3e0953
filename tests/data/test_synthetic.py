"""Generated graphs: the requested size, and a task that needs several rounds of messages."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from revgnn.data import NodeDataset, generate, load, proteins_shaped
from revgnn.data.generated.synthetic import HOPS


def test_generate_returns_what_it_documents():
    data = generate(1200, degree=16, tasks=5, species=3, seed=4)
    graph = data.graph
    assert (data.num_nodes, data.num_outputs, data.num_species, data.in_channels) == (1200, 5, 3, 8)
    assert graph.num_edges / 1200 == pytest.approx(16, rel=0.3)
    assert torch.equal(graph.by_source.dst, graph.src)  # undirected
    assert not bool((graph.src == graph.dst).any())
    features = graph.edge_attr
    assert features.min() >= 0
    assert features.max() <= 1
    assert torch.allclose(features * 1000, (features * 1000).round(), atol=1e-3)
    assert torch.allclose(data.x, torch.zeros(1200, 8).index_add_(0, graph.dst, features), atol=1e-3)
    assert data.species.unique().tolist() == [0, 1, 2]
    assert torch.allclose(data.y.mean(0), torch.full((5,), 0.5), atol=0.01)
    sizes = [part.numel() for part in (data.split.train, data.split.valid, data.split.test)]
    assert sum(sizes) == 1200
    assert sizes[0] / 1200 == pytest.approx(0.6, abs=0.05)


def test_the_same_arguments_give_the_same_data():
    one, same, other = generate(400, seed=1), generate(400, seed=1), generate(400, seed=2)
    assert torch.equal(one.graph.src, same.graph.src)
    assert torch.equal(one.graph.edge_attr, same.graph.edge_attr)
    assert torch.equal(one.y, same.y)
    assert one.graph.num_edges != other.graph.num_edges or not torch.equal(one.graph.src, other.graph.src)


def _score_of_linear_model(data: NodeDataset, rounds: int) -> float:
    """Return the test ROC-AUC of ridge regression on features averaged over neighbours 0, 1, ... and `rounds` times."""
    graph = data.graph
    h = data.x / graph.in_degree.clamp(min=1).unsqueeze(1)
    averaged = []
    for _ in range(rounds + 1):
        averaged.append(h)
        h = torch.zeros_like(h).index_add_(0, graph.dst, h[graph.src]) * graph.inv_degree.unsqueeze(1)
    z = torch.cat(averaged, dim=1).double()
    train, test = data.split.train, data.split.test
    z = (z - z[train].mean(0)) / z[train].std(0)
    gram = z[train].T @ z[train] + 3.0 * torch.eye(z.shape[1], dtype=torch.float64)
    scores = z[test] @ torch.linalg.solve(gram, z[train].T @ (data.y[train].double() - 0.5))
    return float(np.mean([roc_auc_score(data.y[test, t], scores[:, t]) for t in range(data.num_outputs)]))


@pytest.mark.parametrize("seed", [0, 1])
def test_more_rounds_of_messages_score_better(seed):
    data = generate(3000, tasks=24, seed=seed)
    own, one, most = (_score_of_linear_model(data, rounds) for rounds in (0, 1, max(HOPS)))
    assert own < 0.7
    assert own + 0.15 < one
    assert one + 0.02 < most
    assert most > 0.93


def test_by_name():
    data = load("Synthetic:nodes=600, degree=10,tasks=3,seed=9")
    assert data.name == "Synthetic:nodes=600, degree=10,tasks=3,seed=9"
    assert torch.equal(data.y, generate(600, 10, 3, seed=9).y)
    assert load("synthetic").num_nodes == 2000


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("synthetic:node=3", "no argument 'node'; it has nodes, degree, tasks, species, seed"),
        ("synthetic:nodes=many", "nodes must be a whole number, got 'many'"),
        ("synthetic:nodes=50", "needs 200 nodes or more, got nodes=50"),
        ("synthetic:degree=1", "degree must be between 2 and"),
        ("synthetic:tasks=0", "tasks and species must be 1 or more"),
    ],
)
def test_bad_arguments(name, message):
    with pytest.raises(ValueError, match=message):
        load(name)


def test_options_of_files_are_refused():
    with pytest.raises(ValueError, match="takes its options in its name"):
        load("synthetic", undirected=True)
    with pytest.raises(ValueError, match="self-loops would have no edge features"):
        load("synthetic", self_loops=True)


@pytest.mark.parametrize(
    ("nodes", "edges", "features"), [(13_253, 791_225, 8), (500, 9_000, 3), (40, 780, 0), (5, 1, 2), (3, 0, 1)]
)
def test_proteins_shaped_has_exactly_that_size(nodes, edges, features):
    graph = proteins_shaped(nodes, edges, features)
    assert (graph.num_nodes, graph.num_edges, graph.num_edge_features) == (nodes, edges, features)
    key = graph.dst.long() * nodes + graph.src
    reverse = graph.src.long() * nodes + graph.dst
    assert key.unique().numel() == edges
    assert not bool((graph.src == graph.dst).any())
    assert np.setdiff1d(reverse, key).size == edges % 2
    if edges > 5000:
        assert int(graph.in_degree.max()) > 5 * edges / nodes


def test_too_many_edges_are_refused():
    with pytest.raises(ValueError, match=r"between 0 and half of all ordered pairs \(10\), got 11"):
        proteins_shaped(5, 11)
