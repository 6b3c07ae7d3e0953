"""Labels as inputs: who sees what."""

from __future__ import annotations

import pytest
import torch

from revgnn.data import NodeDataset, Split
from revgnn.graph import Graph
from revgnn.train.batches import Batches
from revgnn.train.label_inputs import label_vectors, label_width, show_all, show_some

N = 40


def dataset(task: str) -> NodeDataset:
    y = {
        "multiclass": torch.arange(N) % 3,
        "binary": torch.arange(N) % 2,
        "multilabel": torch.stack([torch.arange(N) % 2, (torch.arange(N) // 2) % 2], 1).float(),
    }[task]
    if task == "multilabel":
        y[0] = float("nan")
    nodes = torch.arange(N)
    return NodeDataset(
        name="small",
        graph=Graph.from_edge_index(torch.randint(0, N, (2, 100)), N),
        x=torch.rand(N, 4),
        y=y,
        task=task,
        num_outputs={"multiclass": 3, "binary": 1, "multilabel": 2}[task],
        metric="accuracy" if task == "multiclass" else "rocauc",
        splits=(Split(nodes[:20], nodes[20:30], nodes[30:]),),
        source="made here",
        licence="none",
    )


@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel"])
def test_only_training_labels_are_ever_inputs(task: str) -> None:
    data = dataset(task)
    vectors = label_vectors(data)
    assert vectors.shape == (N, label_width(data))
    assert not vectors[20:].any(), "a validation or test label is shown"
    if task == "multilabel":
        assert not vectors[0].any(), "an unlabelled node has a label"
        assert torch.equal(vectors[1:20], data.y[1:20])
    else:
        assert torch.equal(vectors[:20].argmax(1), data.y[:20])
        assert torch.equal(vectors[:20].sum(1), torch.ones(20))


@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel"])
@pytest.mark.parametrize("parts", [1, 3])
def test_no_node_is_trained_on_a_label_it_shows(task: str, parts: int) -> None:
    data = dataset(task)
    batches = Batches(data, torch.device("cpu"), label_vectors(data))
    for batch in batches.view(parts, seed=0):
        seen = show_some(batch, 0.5, task)
        assert seen.x.shape[1] == 4 + label_width(data)
        assert torch.equal(seen.x[:, :4], batch.x)
        assert not seen.x[seen.train][:, 4:].any()
        others = torch.ones(len(batch.y), dtype=torch.bool).index_fill(0, seen.train, False)
        assert torch.equal(seen.x[others][:, 4:], batch.labels[others])


def test_every_training_node_takes_its_turn() -> None:
    data = dataset("binary")
    batch = Batches(data, torch.device("cpu"), label_vectors(data)).whole
    trained = {int(n) for _ in range(30) for n in show_some(batch, 0.5, "binary").train}
    assert trained == set(range(20))


def test_in_evaluation_all_training_labels_are_shown() -> None:
    data = dataset("multiclass")
    batch = Batches(data, torch.device("cpu"), label_vectors(data)).whole
    assert torch.equal(show_all(batch).x, torch.cat([data.x, label_vectors(data)], 1))


def test_where_all_would_be_shown_none_is() -> None:
    data = dataset("binary")
    batch = Batches(data, torch.device("cpu"), label_vectors(data)).whole
    seen = show_some(batch, 1.0, "binary")
    assert torch.equal(seen.train, batch.train)
    assert not seen.x[:, 4:].any()
