"""How often a run is evaluated does not change what it learns, and the caller's random numbers stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from revgnn.train.config import EvalConfig, RunConfig
from revgnn.train.inference.correlate import correlate_runs
from revgnn.train.inference.evaluate import evaluate_run
from revgnn.train.inference.predict import predict_run
from revgnn.train.inference.saved_run import LoadOptions
from revgnn.train.inference.views import infer, infer_with_spread
from revgnn.train.run.footprint import compare_footprint
from revgnn.train.run.loop import train
from revgnn.train.run.session import prepare
from revgnn.train.run.tensor_file import read_tensors

FAMILIES = {
    "reversible": [],
    "residual": ["model.family=residual"],
    "equilibrium": ["model={family: equilibrium, depth: 2, channels: 8, dropout: 0.3}"],
    "revgat": ["model={family: revgat, depth: 3, channels: 8, heads: 2, dropout: 0.3, edge_dropout: 0.2}"],
    "labels as inputs": ["label_inputs=0.5", "label_reuse=1"],
}


@pytest.mark.parametrize("family", ["reversible", *(pytest.param(f, marks=pytest.mark.slow) for f in list(FAMILIES)[1:])])
def test_evaluations_do_not_change_the_training(config: RunConfig, tmp_path: Path, family: str) -> None:
    states = []
    for every, views in ((1, 2), (3, 2), (4, 1)):
        folder = tmp_path / f"{every}-{views}"
        train(config.override([*FAMILIES[family], f"evaluation.every={every}", f"evaluation.views={views}"]), folder)
        states.append(read_tensors(folder / "last.safetensors")[0])
    for other in states[1:]:
        assert other.keys() == states[0].keys()
        for name, tensor in states[0].items():
            assert torch.equal(other[name], tensor), name


def uses(config: RunConfig, run: Path, tmp_path: Path) -> dict[str, Callable[[], object]]:
    session = prepare(config)
    two_views = EvalConfig(parts=2, views=2)
    return {
        "train": lambda: train(config.override(["epochs=1"]), tmp_path / "a"),
        "evaluate": lambda: evaluate_run(run),
        "predict": lambda: predict_run(run, tmp_path / "p.npz", LoadOptions(views=2, parts=2), spread=True),
        "correlate": lambda: correlate_runs([run, run]),
        "footprint": lambda: compare_footprint(config),
        "infer": lambda: infer(session.model, session.batches, two_views, 0),
        "spread": lambda: infer_with_spread(session.model, session.batches, two_views, 0),
    }


@pytest.mark.parametrize("use", ["train", "evaluate", "predict", "correlate", "footprint", "infer", "spread"])
def test_the_callers_random_numbers_stay(config: RunConfig, run: Path, tmp_path: Path, use: str) -> None:
    call = uses(config, run, tmp_path)[use]
    torch.manual_seed(1234)
    before = torch.get_rng_state()
    call()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_prediction_does_not_depend_on_the_callers_random_numbers(config: RunConfig, run: Path) -> None:
    scores = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        scores.append(evaluate_run(run))
    assert scores[0] == scores[1]
