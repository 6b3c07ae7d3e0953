"""Labels as inputs: which labels the network sees."""

from __future__ import annotations

import pytest
import torch

from revgnn.data import NodeDataset, Split
from revgnn.graph import Graph
from revgnn.train.batches import Batch, Batches
from revgnn.train.tricks.label_inputs import (
    label_vectors,
    label_width,
    reuse_labels,
    show_all_labels,
    show_predictions,
    show_some_labels,
)

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
        seen = show_some_labels(batch, 0.5, task)
        assert seen.x.shape[1] == 4 + label_width(data)
        assert torch.equal(seen.x[:, :4], batch.x)
        assert not seen.x[seen.train][:, 4:].any()
        others = torch.ones(len(batch.y), dtype=torch.bool).index_fill(0, seen.train, False)
        assert torch.equal(seen.x[others][:, 4:], batch.labels[others])


def test_every_training_node_is_trained_on_in_some_step() -> None:
    data = dataset("binary")
    batch = Batches(data, torch.device("cpu"), label_vectors(data)).whole
    trained = {int(n) for _ in range(30) for n in show_some_labels(batch, 0.5, "binary").train}
    assert trained == set(range(20))


def test_in_evaluation_all_training_labels_are_shown() -> None:
    data = dataset("multiclass")
    batch = Batches(data, torch.device("cpu"), label_vectors(data)).whole
    assert torch.equal(show_all_labels(batch, "multiclass").x, torch.cat([data.x, label_vectors(data)], 1))


def test_if_all_labels_would_be_shown_none_is() -> None:
    data = dataset("binary")
    batch = Batches(data, torch.device("cpu"), label_vectors(data)).whole
    seen = show_some_labels(batch, 1.0, "binary")
    assert torch.equal(seen.train, batch.train)
    assert not seen.x[:, 4:].any()


# --- predictions in place of labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel"])
@pytest.mark.parametrize("training", [True, False])
def test_predictions_replace_labels_that_are_not_shown(task: str, training: bool) -> None:
    data = dataset(task)
    batch = Batches(data, torch.device("cpu"), label_vectors(data)).whole
    seen = show_some_labels(batch, 0.5, task) if training else show_all_labels(batch, task)
    logits = torch.randn(N, data.num_outputs)
    filled = show_predictions(seen, logits, task)
    shown = seen.shown
    assert shown is not None
    assert not shown[seen.train].any() or not training, "a node that is trained on shows its label"
    assert not shown[20:].any(), "a validation or test label is shown"
    expected_shown = torch.zeros(N, dtype=torch.bool)
    expected_shown[:20] = True
    expected_shown[seen.train if training else []] = False
    expected_shown[0] &= task != "multilabel"  # has no label
    assert torch.equal(shown, expected_shown)
    assert torch.equal(filled.x[shown], seen.x[shown])
    assert torch.equal(filled.x[:, :4], data.x)
    expected = {
        "multiclass": logits.softmax(1),
        "binary": torch.stack([1 - logits[:, 0].sigmoid(), logits[:, 0].sigmoid()], 1),
        "multilabel": logits.sigmoid(),
    }[task]
    torch.testing.assert_close(filled.x[~shown][:, 4:], expected[~shown])


def test_each_pass_sees_the_predictions_of_the_pass_before() -> None:
    data = dataset("multiclass")
    batch = show_all_labels(Batches(data, torch.device("cpu"), label_vectors(data)).whole, "multiclass")
    w = torch.randn(7, 3, requires_grad=True)
    passes = []

    def forward(b: Batch) -> torch.Tensor:
        passes.append(b.x)
        return b.x @ w

    last = reuse_labels(forward, batch, 2, "multiclass")
    assert len(passes) == 2
    assert not last.x.requires_grad
    assert torch.equal(passes[0], batch.x)
    for before, after in ((passes[0], passes[1]), (passes[1], last.x)):
        torch.testing.assert_close(after[20:, 4:], (before @ w).softmax(1)[20:].detach())
    assert reuse_labels(forward, batch, 0, "multiclass") is batch


@pytest.mark.parametrize("parts", [1, 3])
def test_labels_of_validation_and_test_nodes_change_nothing(parts: int) -> None:
    """Neither training steps nor predictions change, with two passes of label reuse."""
    from dataclasses import replace

    from revgnn.models import ModelConfig
    from revgnn.train.config import EvalConfig, RunConfig
    from revgnn.train.inference.views import infer
    from revgnn.train.run.session import prepare, training_step

    data = dataset("multiclass")
    other = replace(data, y=torch.cat([data.y[:20], (data.y[20:] + 1) % 3]))
    run = RunConfig(
        model=ModelConfig(depth=2, channels=8, dropout=0.2, norm="batch"),
        label_inputs=0.5,
        label_reuse=2,
        parts=parts,
        device="cpu",
    )
    results = []
    for chosen in (data, other):
        session = prepare(run, chosen)
        for batch in session.batches.view(parts, 0):
            training_step(session, batch)
        results.append(infer(session.model, session.batches, EvalConfig(parts=parts, views=2), 0))
    assert torch.equal(*results)
    session.batches.label_reuse = 0
    assert not torch.equal(infer(session.model, session.batches, EvalConfig(parts=parts, views=2), 0), results[0])
