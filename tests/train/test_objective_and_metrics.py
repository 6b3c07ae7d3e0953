"""Loss and scores against PyTorch, scikit-learn and OGB's evaluator."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import f1_score

from revgnn.data.tasks import as_task
from revgnn.train.metrics import MetricError, check_scorable, score

N, T = 200, 6


@pytest.fixture
def multilabel() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels: a fifth of them unlabelled, one task without a positive label, one without any label."""
    y = (torch.rand(N, T) < 0.3).float()
    y[torch.rand(N, T) < 0.2] = torch.nan
    y[:, 4] = torch.where(y[:, 4].isnan(), torch.nan, 0.0)
    y[:, 5] = torch.nan
    logits = torch.randn(N, T) + y.nan_to_num()
    return (logits * 8).round() / 8, y  # rounded: ties are part of ROC-AUC


def test_multilabel_loss_is_the_mean_over_labelled_entries(multilabel) -> None:
    logits, y = multilabel
    known = ~y.isnan()
    torch.testing.assert_close(as_task("multilabel").loss(logits, y), F.binary_cross_entropy_with_logits(logits[known], y[known]))


def test_unlabelled_entries_get_no_gradient(multilabel) -> None:
    logits, y = multilabel
    logits.requires_grad_()
    as_task("multilabel").loss(logits, y).backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad != 0, ~y.isnan())


def test_binary_loss() -> None:
    logits, y = torch.randn(N, 1), torch.randint(-1, 2, (N,))
    known = y >= 0
    expected = F.binary_cross_entropy_with_logits(logits[known, 0], y[known].float())
    torch.testing.assert_close(as_task("binary").loss(logits, y), expected)


def test_multiclass_loss() -> None:
    logits, y = torch.randn(N, 5), torch.randint(-1, 5, (N,))
    torch.testing.assert_close(as_task("multiclass").loss(logits, y), F.cross_entropy(logits[y >= 0], y[y >= 0]))


def test_logarithmic_loss() -> None:
    """log(eps + cross entropy) - log(eps) with eps = 1 - log 2, node by node (arXiv:2103.13355)."""
    logits, y = torch.randn(N, 5, requires_grad=True), torch.randint(-1, 5, (N,))
    eps = 1 - np.log(2)
    each = F.cross_entropy(logits[y >= 0].double(), y[y >= 0], reduction="none")
    expected = (torch.log(eps + each) - np.log(eps)).mean()
    loss = as_task("multiclass").loss(logits, y, "log")
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=1e-6)
    loss.backward()
    assert logits.grad is not None
    assert torch.equal((logits.grad != 0).any(1), y >= 0)


def test_logarithmic_loss_of_correct_and_of_wrong_predictions() -> None:
    confident = torch.tensor([[60.0, 0.0]])
    assert float(as_task("multiclass").loss(confident, torch.tensor([0]), "log")) == pytest.approx(0, abs=1e-6)
    expected = np.log(60 + 1 - np.log(2)) - np.log(1 - np.log(2))
    assert float(as_task("multiclass").loss(confident, torch.tensor([1]), "log")) == pytest.approx(expected)
    assert bool(as_task("multiclass").loss(confident, torch.tensor([-1]), "log").isnan())


@pytest.mark.parametrize("task", ["multiclass", "binary", "multilabel"])
def test_the_loss_of_short_floats_is_float32(task: str) -> None:
    y = torch.zeros(N, 3) if task == "multilabel" else torch.zeros(N, dtype=torch.int64)
    loss = as_task(task).loss(torch.randn(N, 1 if task == "binary" else 3).bfloat16(), y)
    assert loss.dtype == torch.float32


def test_num_labelled_counts_rows(multilabel) -> None:
    _, y = multilabel
    assert as_task("multilabel").num_labelled(y) == int((~y.isnan()).any(1).sum())
    assert as_task("multiclass").num_labelled(torch.tensor([-1, 0, 3])) == 2


def test_rocauc_is_ogbs(multilabel) -> None:
    ogb = pytest.importorskip("ogb.nodeproppred")
    logits, y = multilabel
    evaluator = ogb.Evaluator("ogbn-proteins")
    evaluator.num_tasks = T
    expected = evaluator.eval({"y_true": y.numpy(), "y_pred": logits.numpy()})["rocauc"]
    assert score("rocauc", "multilabel", logits, y) == pytest.approx(expected, abs=1e-12)


def test_rocauc_of_a_binary_task_is_the_share_of_ordered_pairs() -> None:
    logits, y = (torch.randn(60, 1) * 4).round(), torch.randint(0, 2, (60,))
    positive, negative = logits[y == 1, 0], logits[y == 0, 0]
    difference = positive[:, None] - negative[None, :]
    expected = float(((difference > 0).double() + 0.5 * (difference == 0)).mean())
    assert score("rocauc", "binary", logits, y) == pytest.approx(expected, abs=1e-12)


def test_accuracy() -> None:
    logits = torch.tensor([[2.0, 1.0], [0.0, 1.0], [1.0, 0.0], [5.0, 0.0]])
    assert score("accuracy", "multiclass", logits, torch.tensor([0, 1, 1, -1])) == pytest.approx(2 / 3)
    assert score("accuracy", "binary", logits[:, :1] - 0.5, torch.tensor([1, 1, 1, 0])) == pytest.approx(0.5)


def test_f1_is_micro_averaged(multilabel) -> None:
    logits, y = multilabel
    known = ~y.isnan()
    expected = f1_score(y[known].numpy(), (logits[known] > 0).numpy().astype(np.float32))
    assert score("f1", "multilabel", logits, y) == pytest.approx(expected, abs=1e-12)


def test_f1_without_any_positive_is_zero() -> None:
    assert score("f1", "multilabel", -torch.ones(4, 2), torch.zeros(4, 2)) == 0.0


@pytest.mark.parametrize(
    ("metric", "task", "y", "message"),
    [
        ("rocauc", "binary", torch.zeros(5, dtype=torch.int64), "both classes, and the one task"),
        ("rocauc", "multilabel", torch.ones(5, 3), "each of the 3 tasks"),
        ("accuracy", "multiclass", -torch.ones(5, dtype=torch.int64), "none of its 5 nodes"),
        ("rocauc", "multilabel", torch.full((5, 2), torch.nan), "none of its 5 nodes"),
    ],
)
def test_labels_that_do_not_define_a_score(metric: str, task: str, y: torch.Tensor, message: str) -> None:
    with pytest.raises(MetricError, match=f"the test split cannot be scored.*{message}"):
        check_scorable(metric, task, y, "test")


def test_rocauc_of_many_classes_is_refused() -> None:
    with pytest.raises(MetricError, match="use accuracy"):
        score("rocauc", "multiclass", torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1]))


def test_no_labelled_nodes() -> None:
    with pytest.raises(MetricError, match="none of the 5 nodes to score has a label"):
        score("accuracy", "multiclass", torch.randn(5, 3), -torch.ones(5, dtype=torch.int64))


def test_logits_that_are_not_finite_are_refused() -> None:
    with pytest.raises(MetricError, match="node 2 are not finite"):
        score("accuracy", "multiclass", torch.tensor([[0.0, 1.0]] * 2 + [[torch.nan, 0.0]]), torch.tensor([0, 1, 1]))
