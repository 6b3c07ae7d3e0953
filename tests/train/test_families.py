"""A run of every family of networks can be stopped, resumed, evaluated and used to predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from revgnn.models.config import Family
from revgnn.train.config import RunConfig
from revgnn.train.inference.evaluate import evaluate_run
from revgnn.train.inference.predict import predict_run
from revgnn.train.run.events import Event, Stepped
from revgnn.train.run.folder import RunFolder
from revgnn.train.run.loop import Interrupted, train
from tests.train.test_resume import assert_same_run

FAMILY_SETTINGS: dict[str, dict[str, Any]] = {
    "residual": {"groups": 1},
    "equilibrium": {"groups": 1, "norm": "layer"},
    "revgat": {"conv": "gat", "heads": 3, "channels": 12},
}
"""Settings that a family needs and the small run does not have."""

NETWORKS = {
    **{family: {"family": family, **FAMILY_SETTINGS.get(family, {})} for family in get_args(Family)},
    "residual-tied": {"family": "residual", "groups": 1, "tied": True},
    "residual-tied-single": {"family": "residual", "groups": 1, "tied": True, "unit": "single"},
    "reversible-tied": {"family": "reversible", "tied": True},
    "reversible-tied-single": {"family": "reversible", "tied": True, "unit": "single"},
    "equilibrium-warm": {"family": "equilibrium", "groups": 1, "norm": "layer", "solver.warm_start": True, "solver.pretraining": 4},
}


@pytest.mark.filterwarnings("ignore:an equilibrium was not solved", "ignore:the adjoint system")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_run_is_stopped_resumed_evaluated_and_predicts(config: RunConfig, name: str, tmp_path: Path) -> None:
    config = config.replace({"model.depth": 4, "epochs": 2, **{f"model.{key}": value for key, value in NETWORKS[name].items()}})
    uninterrupted, stopped = tmp_path / "uninterrupted", tmp_path / "stopped"
    train(config, uninterrupted)

    steps: list[Event] = []

    def count(event: Event) -> None:
        steps.extend([event] if isinstance(event, Stepped) else [])

    with pytest.raises(Interrupted, match="in epoch 2 after 2 steps"):
        train(config, stopped, hooks=[count], should_stop=lambda: len(steps) == config.parts + 2)
    torch.manual_seed(1234)  # the next process has other random states
    result = train(config, stopped, resume=True, hooks=[count])
    assert len(steps) == config.epochs * config.parts
    assert_same_run(stopped, uninterrupted)

    scores = evaluate_run(stopped)
    assert (scores["epoch"], scores["valid"], scores["test"]) == (result.best_epoch, result.valid, result.test)
    assert RunFolder(stopped).result() == result.as_dict()
    predictions = []
    for folder in (stopped, uninterrupted):
        predict_run(folder, tmp_path / "predictions.npz", overwrite=True)
        with np.load(tmp_path / "predictions.npz", allow_pickle=False) as file:
            predictions.append(file["logits"])
    assert np.isfinite(predictions[0]).all()
    assert np.array_equal(*predictions)
    assert len(np.unique(predictions[0], axis=0)) > 1
