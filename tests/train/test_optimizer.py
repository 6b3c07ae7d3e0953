"""The optimiser and its learning rate."""

from __future__ import annotations

import pytest
import torch

from revgnn.train.config import OptimConfig, RunConfig
from revgnn.train.run.optimization import learning_rate
from revgnn.train.run.session import prepare, training_step


def test_a_step_of_rmsprop_is_the_formula(config: RunConfig) -> None:
    """v = 0.99 v + 0.01 g^2, w -= lr g / (sqrt(v) + 1e-8), from v = 0."""
    session = prepare(config.override(["optim.name=rmsprop", "optim.lr=0.002", "optim.clip_norm=null"]))
    session.model.train()
    before = [p.detach().double() for p in session.model.parameters()]
    training_step(session, session.batches.whole)
    for old, p in zip(before, session.model.parameters(), strict=True):
        assert p.grad is not None
        g = p.grad.double()
        torch.testing.assert_close(p.double(), old - 0.002 * g / ((0.01 * g**2).sqrt() + 1e-8), rtol=1e-4, atol=1e-7)


def test_warm_up_is_the_authors(config: RunConfig) -> None:
    """lr * epoch / 50 in epochs 1 to 50, the full rate from then on."""
    config = config.override(["optim.warmup=50", "optim.lr=0.002", "parts=1", "epochs=2000"])
    rates = [learning_rate(config, float(epoch - 1)) for epoch in range(1, 60)]
    assert rates == pytest.approx([0.002 * min(epoch, 50) / 50 for epoch in range(1, 60)])


def test_learning_rate_rises_and_falls() -> None:
    config = RunConfig(epochs=100, parts=2, optim=OptimConfig(lr=0.1, schedule="cosine", warmup=10))
    rates = [learning_rate(config, step / 2) for step in range(200)]
    assert rates[0] == pytest.approx(0.1 / 20)
    assert max(rates) == pytest.approx(0.1, rel=0.03)
    assert rates.index(max(rates)) in (19, 20)
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert rates[-1] < 1e-4
    assert learning_rate(RunConfig(epochs=5, optim=OptimConfig(lr=0.1)), 4.5) == 0.1


def test_deeper_networks_have_smaller_rates_from_the_reference_depth_on() -> None:
    run = RunConfig(optim=OptimConfig(lr=0.1, reference_depth=28))
    rates = {depth: learning_rate(run.replace({"model.depth": depth}), 0.0) for depth in (3, 28, 112, 1001)}
    assert rates == pytest.approx({3: 0.1, 28: 0.1, 112: 0.05, 1001: 0.1 * (28 / 1001) ** 0.5})


def test_a_cosine_schedule_fixes_the_number_of_epochs() -> None:
    constant = RunConfig(epochs=5)
    assert not constant.differences(constant.replace({"epochs": 9}))
    cosine = constant.replace({"optim.schedule": "cosine"})
    assert "epochs" in cosine.differences(cosine.replace({"epochs": 9}))
