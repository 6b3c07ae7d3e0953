"""Class weights, and F1 with thresholds chosen on other rows, against scikit-learn and by exhaustive search."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score, f1_score
from sklearn.utils.class_weight import compute_class_weight

from revgnn.data.tasks import Binary, Multiclass, Multilabel

N, T = 240, 4


@pytest.fixture
def labels() -> torch.Tensor:
    """Labels of T rates, a fifth of them missing."""
    y = (torch.rand(N, T) < torch.tensor([0.1, 0.3, 0.5, 0.8])).float()
    y[torch.rand(N, T) < 0.2] = torch.nan
    return y


def rounded_logits(y: torch.Tensor) -> torch.Tensor:
    """Logits with ties that know a little about the labels."""
    return ((torch.randn(y.shape) + 1.5 * y.nan_to_num() - 2) * 4).round() / 4


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    y = torch.multinomial(torch.tensor([0.1, 0.2, 0.7]), N, replacement=True)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=y.numpy())
    np.testing.assert_allclose(Multiclass(3).class_weights("balanced", y).numpy(), expected, rtol=1e-6)


def test_a_weighted_loss_is_that_of_repeated_rows() -> None:
    """A class of weight 3 counts as if each of its rows occurred three times."""
    y, logits = torch.randint(-1, 3, (N,)), torch.randn(N, 3)
    copies = torch.where(y == 2, 3, 1)
    again = torch.arange(N).repeat_interleave(copies)
    for kind in ("cross_entropy", "log"):
        weighted = Multiclass(3).loss(logits, y, kind, torch.tensor([1.0, 1.0, 3.0]))
        torch.testing.assert_close(weighted, Multiclass(3).loss(logits[again], y[again], kind))
    y, copies = (y > 0).long(), torch.where(y > 0, 3, 1)
    again = torch.arange(N).repeat_interleave(copies)
    weights = Binary(1).class_weights((1, 3), y)
    torch.testing.assert_close(Binary(1).loss(logits[:, :1], y, None, weights), Binary(1).loss(logits[again][:, :1], y[again]))


def test_equal_weights_change_nothing(labels: torch.Tensor) -> None:
    logits = torch.randn(N, T)
    weights = Multilabel(T).class_weights([1.0] * T, labels)
    torch.testing.assert_close(Multilabel(T).loss(logits, labels, None, weights), Multilabel(T).loss(logits, labels))
    y = torch.randint(0, 3, (N,))
    torch.testing.assert_close(Multiclass(3).loss(logits[:, :3], y, None, torch.ones(3)), F.cross_entropy(logits[:, :3], y))


def test_balanced_labels_weigh_as_much_for_no_as_for_yes(labels: torch.Tensor) -> None:
    weights = Multilabel(T).class_weights("balanced", labels)
    counts = torch.stack([(labels == 0).sum(0), (labels == 1).sum(0)], dim=1)
    torch.testing.assert_close(weights[:, 0] * counts[:, 0], weights[:, 1] * counts[:, 1])


@pytest.mark.parametrize(
    ("task", "given", "message"),
    [
        (Multiclass(3), (1.0, 2.0), "3 positive numbers, one for each class"),
        (Multiclass(3), "balanced", "class 2 has no training node"),
        (Binary(1), (1.0, -1.0), "2 positive numbers, of no and yes"),
        (Multilabel(2), (1.0,), "2 positive numbers, the weight of yes for each label"),
    ],
    ids=str,
)
def test_weights_that_do_not_fit(task: Multiclass, given: tuple[float, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task.class_weights(given, torch.tensor([0, 1, 1]))


@pytest.mark.parametrize("metric", ["f1_micro", "f1_macro"])
def test_thresholds_are_the_best_of_all(labels: torch.Tensor, metric: str) -> None:
    """No other threshold gives a larger F1 of the rows that they were fitted on."""
    task, logits = Multilabel(T), rounded_logits(labels)
    thresholds = task.fit_thresholds(metric, logits, labels)
    assert thresholds is not None
    best = task.score(metric, logits, labels, thresholds)
    assert best > task.score(metric, logits, labels)
    candidates = [float(p) for p in torch.linspace(0, 1, 401)]
    if metric == "f1_micro":
        assert best >= max(task.score(metric, logits, labels, [c] * T) for c in candidates) - 1e-12
        return
    for column in range(T):
        others = [task.score(metric, logits, labels, [*thresholds[:column], c, *thresholds[column + 1 :]]) for c in candidates]
        assert best >= max(others) - 1e-12


def test_f1_is_that_of_scikit_learn(labels: torch.Tensor) -> None:
    task, logits, thresholds = Multilabel(T), rounded_logits(labels), (0.1, 0.3, 0.5, 0.7)
    p, known = logits.sigmoid().double().numpy(), ~labels.isnan().numpy()
    y = labels.nan_to_num().numpy() == 1
    each = [f1_score(y[k, t], p[k, t] > thresholds[t], zero_division=0) for t, k in enumerate(known.T)]
    assert task.score("f1_macro", logits, labels, thresholds) == pytest.approx(np.mean(each), abs=1e-12)
    micro = f1_score(y[known], (p > np.array(thresholds))[known])
    assert task.score("f1_micro", logits, labels, thresholds) == pytest.approx(micro, abs=1e-12)


def test_average_precision_is_that_of_scikit_learn() -> None:
    y, logits = torch.randint(0, 2, (N,)), torch.randn(N, 1).round(decimals=1)
    assert Binary(1).score("ap", logits, y) == pytest.approx(average_precision_score(y.numpy(), logits[:, 0].numpy()), abs=1e-12)


def test_macro_f1_of_classes_is_that_of_scikit_learn() -> None:
    y, logits = torch.randint(-1, 4, (N,)), torch.randn(N, 5)
    known = y >= 0
    expected = f1_score(y[known].numpy(), logits[known].argmax(1).numpy(), average="macro")
    assert Multiclass(5).score("f1_macro", logits, y) == pytest.approx(expected, abs=1e-12)


def test_thresholds_decide_what_is_predicted() -> None:
    p = np.array([[0.2], [0.4], [0.6]], np.float32)
    columns = Binary(1).columns({"values": p}, ("no", "yes"), (0.3,))
    assert columns["predicted"].to_pylist() == ["no", "yes", "yes"]
    columns = Multilabel(1).columns({"values": p}, ("a",), (0.5,))
    assert columns["predicted_a"].tolist() == [False, False, True]


def test_without_a_positive_label_the_threshold_is_one_half() -> None:
    assert Binary(1).fit_thresholds("f1_macro", torch.randn(5, 1), torch.zeros(5, dtype=torch.int64)) == (0.5,)
