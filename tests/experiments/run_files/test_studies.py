"""The rate that a study shows for a depth is the one that its runs were trained with."""

from __future__ import annotations

from typing import Any

import pytest

from revgnn.experiments.run_files.studies import learning_rate_of
from revgnn.train.config import OptimConfig, RunConfig
from revgnn.train.run.optimization import learning_rate


def study(**optim: Any) -> dict[str, Any]:
    return {"run": RunConfig(optim=OptimConfig(lr=0.5, **optim)).model_dump(mode="json")}


@pytest.mark.parametrize("depth", [3, 28, 1001])
def test_the_rate_is_that_of_the_steps(depth: int) -> None:
    run = RunConfig(optim=OptimConfig(lr=0.01, reference_depth=28)).replace({"model.depth": depth})
    cell = {"depth": depth, "chosen": {"optim.lr": 0.01, "model.dropout": 0.2}}
    assert learning_rate_of(study(reference_depth=28), cell) == learning_rate(run, 0.0)
    assert learning_rate_of(study(), cell) == 0.01


def test_studies_from_before_the_rule_and_depths_without_a_rate() -> None:
    older = study()
    del older["run"]["optim"]["reference_depth"]
    assert learning_rate_of(older, {"depth": 112, "chosen": {"optim.lr": 0.01}}) == 0.01
    assert learning_rate_of(older, {"depth": 112, "chosen": None}) is None
    assert learning_rate_of(older, {"depth": 112, "chosen": {}}) is None
