"""A small run that uses every kind of state (dropout, batch norm, several parts), and its trained folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from revgnn.models.config import ModelConfig
from revgnn.train.config import DataConfig, EvalConfig, OptimConfig, RunConfig
from revgnn.train.run.loop import train


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


@pytest.fixture(scope="session")
def run(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of that run, trained for two epochs. Tests must not change it."""
    folder = tmp_path_factory.mktemp("run") / "a"
    train(config.override(["epochs=2"]), folder)
    return folder
