"""Temperatures: their values for labels drawn from the logits, and their limits."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from sklearn.metrics import log_loss
from torch import Tensor

from revgnn.data.tasks import as_task
from revgnn.train.config import RunConfig
from revgnn.train.inference.calibration import (
    BOUNDS,
    calibration_error,
    fit_and_report,
    fit_temperatures,
    negative_log_likelihood,
)
from revgnn.train.metrics import score
from revgnn.train.run.session import prepare

TASKS = ("multilabel", "binary", "multiclass")


def calibrated_logits(task: str, nodes: int = 20_000) -> tuple[Tensor, Tensor]:
    """Return logits, and labels drawn with their probabilities."""
    generator = torch.Generator().manual_seed(0)
    logits = 2.0 * torch.randn(nodes, {"multilabel": 3, "binary": 1, "multiclass": 5}[task], generator=generator)
    p = as_task(task).values(logits)
    if task == "multiclass":
        return logits, torch.multinomial(p, 1, generator=generator).squeeze(1)
    y = torch.bernoulli(p, generator=generator)
    return logits, y.long().squeeze(1) if task == "binary" else y


def hide_labels(task: str, y: Tensor) -> Tensor:
    """Return the labels with every third one removed."""
    y = y.clone()
    y.view(-1)[::3] = math.nan if task == "multilabel" else -1
    return y


@pytest.mark.parametrize("task", TASKS)
def test_calibrated_logits_have_temperature_1(task: str) -> None:
    """At 20,000 labels the standard error of a temperature is about 0.015."""
    temperatures = fit_temperatures(task, *calibrated_logits(task))
    assert temperatures.values.dtype == torch.float64
    assert temperatures.values.tolist() == pytest.approx([1.0] * len(temperatures.values), abs=0.06)
    assert temperatures.one_class == temperatures.at_bound == ()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("scale", [0.25, 5.0])
def test_temperatures_scale_with_the_logits(task: str, scale: float) -> None:
    """The minimum is multiplied by the factor, within the tolerance of the search."""
    logits, y = calibrated_logits(task, 2000)
    logits = logits.double()
    before, after = fit_temperatures(task, logits, y).values, fit_temperatures(task, scale * logits, y).values
    torch.testing.assert_close(after, scale * before, rtol=1e-5, atol=0.0)


@pytest.mark.parametrize("task", TASKS)
def test_the_likelihood_is_stationary_at_the_temperature(task: str) -> None:
    """Checked with autograd, which the search does not use."""
    logits, y = calibrated_logits(task, 2000)
    fitted = fit_temperatures(task, 3.0 * logits, y)
    columns = (
        [(logits, y)]
        if task == "multiclass"
        else [(logits[:, t : t + 1], y.view(len(y), -1)[:, t]) for t in range(logits.shape[1])]
    )
    for temperature, (z, truth) in zip(fitted.values, columns, strict=True):
        leaf = temperature.clone().requires_grad_()
        scaled = 3.0 * z.double() / leaf
        if task == "multiclass":
            loss = torch.nn.functional.cross_entropy(scaled, truth)
        else:
            loss = torch.nn.functional.binary_cross_entropy_with_logits(scaled[:, 0], truth.double())
        (slope,) = torch.autograd.grad(loss, leaf)
        assert abs(float(slope)) < 1e-6


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("scale", [-1.0, 0.0, 0.01, 1.0, 40.0, 1e4])
@pytest.mark.parametrize("nodes", [2, 30])
def test_the_likelihood_never_decreases(task: str, scale: float, nodes: int) -> None:
    """Also for logits that are mostly wrong, for logits that are all 0, and for two nodes."""
    logits, y = calibrated_logits(task, nodes)
    logits = scale * logits
    temperatures = fit_temperatures(task, logits, hide_labels(task, y))
    before = negative_log_likelihood(task, logits, hide_labels(task, y))
    after = negative_log_likelihood(task, temperatures.apply(logits), hide_labels(task, y))
    assert before is not None
    assert after is not None
    assert after <= before
    assert ((temperatures.values >= BOUNDS[0]) & (temperatures.values <= BOUNDS[1])).all()


@pytest.mark.parametrize("task", TASKS)
def test_entries_without_a_label_do_not_count(task: str) -> None:
    logits, y = calibrated_logits(task, 600)
    logits = 4.0 * logits
    hidden = hide_labels(task, y)
    other = logits.clone()
    other[::3] = 100.0 if task != "multilabel" else other[::3]  # the rows whose only label is removed
    if task == "multilabel":
        other.view(-1)[::3] = 100.0
    assert torch.equal(fit_temperatures(task, logits, hidden).values, fit_temperatures(task, other, hidden).values)
    assert negative_log_likelihood(task, logits, hidden) == negative_log_likelihood(task, other, hidden)
    assert calibration_error(task, logits, hidden) == calibration_error(task, other, hidden)
    assert not torch.equal(fit_temperatures(task, logits, hidden).values, fit_temperatures(task, logits, y).values)


@pytest.mark.parametrize("task", TASKS)
def test_ranking_and_predicted_class_stay(task: str) -> None:
    logits, y = calibrated_logits(task, 3000)
    logits = 7.0 * logits
    scaled = fit_temperatures(task, logits, y).apply(logits)
    assert not torch.equal(scaled, logits.double())
    for metric in ("accuracy",) if task == "multiclass" else ("rocauc", "accuracy", "f1"):
        assert score(metric, task, scaled, y) == score(metric, task, logits, y)


def test_tasks_of_one_class_keep_their_logits() -> None:
    logits, y = calibrated_logits("multilabel", 500)
    y[:, 0] = 1.0
    y[:, 2] = math.nan
    y[3, 2] = 0.0
    temperatures = fit_temperatures("multilabel", 3 * logits, y)
    assert temperatures.one_class == (0, 2)
    assert (temperatures.values == 1.0).tolist() == [True, False, True]
    assert fit_temperatures("multiclass", torch.randn(9, 4), torch.full((9,), 2)).one_class == (0,)
    assert fit_temperatures("binary", torch.randn(9, 1), torch.full((9,), -1)).one_class == (0,)


def test_labels_separated_without_an_error_are_reported() -> None:
    y = torch.tensor([0, 0, 1, 1])
    right = (2.0 * y - 1).unsqueeze(1)
    assert fit_temperatures("binary", right, y).at_bound == (0,)
    assert fit_temperatures("binary", -right, y).at_bound == (0,)
    assert float(fit_temperatures("binary", right, y).values) < 1.0 < float(fit_temperatures("binary", -right, y).values)


def test_the_likelihood_is_that_of_scikit_learn() -> None:
    logits, y = calibrated_logits("multiclass", 400)
    theirs = log_loss(y.numpy(), logits.double().softmax(dim=1).numpy(), labels=list(range(5)))
    assert negative_log_likelihood("multiclass", logits, y) == pytest.approx(theirs, rel=1e-12)


def test_the_calibration_error_by_hand() -> None:
    """Two bins have entries: 0.1 twice with one positive, 0.9 once with one: (2 |0.1 - 0.5| + |0.9 - 1|) / 3."""
    logits = torch.logit(torch.tensor([[0.1], [0.1], [0.9]], dtype=torch.float64))
    assert calibration_error("binary", logits, torch.tensor([0, 1, 1])) == pytest.approx((2 * 0.4 + 0.1) / 3)
    # predicted classes: probability 0.9 twice, correct once; probability 0.6 once, correct
    two = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]], dtype=torch.float64).log()
    assert calibration_error("multiclass", two, torch.tensor([0, 1, 1])) == pytest.approx((2 * 0.4 + 0.4) / 3)
    # certain and correct: no error; the last bin includes 1
    assert calibration_error("binary", torch.tensor([[1e3], [-1e3]]), torch.tensor([1, 0])) == 0.0
    assert calibration_error("binary", torch.zeros(2, 1), torch.tensor([-1, -1])) is None
    assert negative_log_likelihood("binary", torch.zeros(2, 1), torch.tensor([-1, -1])) is None


@pytest.mark.parametrize("task", TASKS)
def test_the_calibration_error_of_overconfident_logits_is_larger(task: str) -> None:
    logits, y = calibrated_logits(task)
    errors = [calibration_error(task, scale * logits, y) for scale in (1.0, 3.0)]
    assert errors[0] is not None
    assert errors[1] is not None
    assert errors[0] < 0.02
    assert errors[1] > 0.06
    temperatures = fit_temperatures(task, 3.0 * logits, y)
    assert calibration_error(task, temperatures.apply(3.0 * logits), y) < 0.02


def test_logits_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        fit_temperatures("binary", torch.tensor([[math.inf], [0.0]]), torch.tensor([0, 1]))


def test_test_labels_change_only_the_report(config: RunConfig) -> None:
    dataset = prepare(config).dataset
    logits = torch.randn(dataset.num_nodes, dataset.num_outputs)
    y = dataset.y.clone()
    y[dataset.split.test] = 1.0 - y[dataset.split.test]
    temperatures, report = fit_and_report(dataset, logits)
    others, other = fit_and_report(dataclasses.replace(dataset, y=y), logits)
    assert torch.equal(temperatures.values, others.values)
    assert report["valid"] == other["valid"]
    assert report["test"] != other["test"]
    assert report["temperatures"] == other["temperatures"] == temperatures.values.tolist()


def test_a_split_without_test_nodes(config: RunConfig) -> None:
    dataset = prepare(config).dataset
    split = dataclasses.replace(dataset.split, test=torch.empty(0, dtype=torch.int64))
    _, report = fit_and_report(dataclasses.replace(dataset, splits=(split,)), torch.randn(dataset.num_nodes, dataset.num_outputs))
    assert set(report["test"].values()) == {None}
    assert None not in report["valid"].values()
