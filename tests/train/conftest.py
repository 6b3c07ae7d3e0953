"""A run small enough to be trained in a blink: dropout, batch norm, several parts, so that every kind of state matters."""

from __future__ import annotations

import pytest

from revgnn.models.config import ModelConfig
from revgnn.train.config import DataConfig, EvalConfig, OptimConfig, RunConfig


@pytest.fixture(scope="session")
def config() -> RunConfig:
    return RunConfig(
        data=DataConfig(name="synthetic:nodes=240,degree=8,tasks=3"),
        model=ModelConfig(depth=3, channels=8, groups=2, dropout=0.3, norm="batch"),
        optim=OptimConfig(lr=0.01),
        evaluation=EvalConfig(parts=2, views=2),
        epochs=4,
        parts=3,
        device="cpu",
    )
