"""Regression against scikit-learn and against itself in other units; what is no target is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from torch import Tensor

from revgnn.data.tasks import MetricError, Regression, TargetScale, is_better

N = 300
THEIRS = {"mae": mean_absolute_error, "rmse": root_mean_squared_error, "r2": r2_score}


@pytest.fixture
def y() -> Tensor:
    """Three targets in units that differ by many orders of magnitude."""
    return torch.randn(N, 3) * torch.tensor([1.0, 1e-4, 1e6]) + torch.tensor([5.0, 0.0, -3e6])


def with_gaps(y: Tensor) -> Tensor:
    y = y.clone()
    y[torch.rand_like(y) < 0.3] = torch.nan
    return y


@pytest.mark.parametrize("metric", THEIRS)
def test_scores_are_those_of_scikit_learn(y: Tensor, metric: str) -> None:
    task = Regression(3, TargetScale.fit(y))
    logits = task.encode(y) + 0.3 * torch.randn(N, 3)
    predicted = task.values(logits.double())
    expected = THEIRS[metric](y.double().numpy(), predicted.numpy())
    assert task.score(metric, logits, y) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("metric", THEIRS)
def test_missing_targets_do_not_count(y: Tensor, metric: str) -> None:
    task, gaps = Regression(3, TargetScale.fit(y)), with_gaps(y)
    logits = task.encode(y) + 0.3 * torch.randn(N, 3)
    predicted = task.values(logits.double()).numpy()
    known = ~gaps.isnan().numpy()
    expected = np.mean([THEIRS[metric](y.double().numpy()[k, t], predicted[k, t]) for t, k in enumerate(known.T)])
    assert task.score(metric, logits, gaps) == pytest.approx(expected, rel=1e-9)


def test_encoded_targets_have_mean_0_and_deviation_1_and_come_back(y: Tensor) -> None:
    gaps = with_gaps(y)
    task = Regression(3, TargetScale.fit(gaps))
    encoded = task.encode(gaps).double()
    known = ~gaps.isnan()
    for t in range(3):
        assert abs(float(encoded[known[:, t], t].mean())) < 1e-6
        assert float(encoded[known[:, t], t].std(correction=0)) == pytest.approx(1, rel=1e-5)
    assert torch.equal(encoded.isnan(), gaps.isnan())
    torch.testing.assert_close(task.values(task.encode(y)), y, rtol=1e-5, atol=0.0)


def test_units_do_not_matter_to_the_loss(y: Tensor) -> None:
    """Temperatures in Celsius and in Fahrenheit have the same scaled targets."""
    other = y.double() * 1.8 + 32
    a, b = Regression(3, TargetScale.fit(y.double())), Regression(3, TargetScale.fit(other))
    torch.testing.assert_close(a.encode(y.double()), b.encode(other), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [None, "mse", "l1", "huber"])
def test_losses(y: Tensor, kind: str | None) -> None:
    gaps = Regression(3, TargetScale.fit(y)).encode(with_gaps(y))
    logits = torch.randn(N, 3, requires_grad=True)
    known = ~gaps.isnan()
    functions = {"l1": torch.nn.functional.l1_loss, "huber": torch.nn.functional.huber_loss}
    expected = functions.get(kind or "", torch.nn.functional.mse_loss)(logits[known], gaps[known])
    loss = Regression(3).loss(logits, gaps, kind)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad != 0, known)


def test_a_constant_target_is_not_divided_by_a_rounding_error() -> None:
    scale = TargetScale.fit(torch.full((7, 1), 0.1))
    assert scale.deviation == (1.0,)
    assert TargetScale.fit(torch.zeros(0, 2)) == TargetScale((0.0, 0.0), (1.0, 1.0))


def test_a_scale_is_kept_as_json_and_damage_is_named(y: Tensor) -> None:
    scale = TargetScale.fit(y)
    assert TargetScale.from_dict(scale.as_dict(), 3, "file") == scale
    for damaged in ({}, {"mean": [0.0], "deviation": [1.0]}, {"mean": [0, 0, "x"], "deviation": [1, 1, 1]}):
        with pytest.raises(ValueError, match="file has no scale of 3 targets"):
            TargetScale.from_dict(damaged, 3, "file")
    with pytest.raises(ValueError, match="not positive"):
        TargetScale.from_dict({"mean": [0.0], "deviation": [0.0]}, 1, "file")


def test_errors_are_smaller_if_better_and_r2_larger() -> None:
    assert is_better("mae", 0.5, 0.7)
    assert not is_better("rmse", 0.7, 0.7)
    assert is_better("r2", 0.7, 0.5)
    assert is_better("mae", 1e9, None)


def test_a_constant_cannot_be_scored_by_r2() -> None:
    task = Regression(1)
    with pytest.raises(MetricError, match="r2 needs two different numbers"):
        task.score("r2", torch.zeros(4, 1), torch.ones(4, 1))
    assert task.score("mae", torch.zeros(4, 1), torch.ones(4, 1)) == 1.0


@pytest.mark.parametrize("feature", ["calibration_columns", "divergence"])
def test_what_it_does_not_have_is_refused_in_one_line(feature: str) -> None:
    with pytest.raises(ValueError, match=r"^a regression task has no .*; leave .* out\.$"):
        getattr(Regression(1), feature)(torch.zeros(2, 1), torch.zeros(2, 1))
