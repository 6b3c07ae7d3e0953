"""What depth is for: 64 layers say what a node 16 hops away has, and 4 layers provably cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from revgnn.data.generated.registry import horizon_of, make
from revgnn.train import RunConfig, train
from revgnn.train.inference.saved_run import load_run
from revgnn.train.run.session import make_batches

GRAPH = "ring-transfer:rings=60,hops=16"

RUN = RunConfig.parse(
    {
        "data": {"name": GRAPH},
        "model": {"channels": 32, "conv": "sage", "aggregation": "mean", "norm": "batch", "dropout": 0.0},
        "optim": {"lr": 0.005, "schedule": "cosine"},
        "evaluation": {"every": 5},
        "epochs": 200,
        "save_every": 200,
        "device": "cpu",
    }
)


def scores_of_all_classes(run: Path) -> list[float]:
    """Return the test accuracy of a trained network on the graph under each shift of the classes of its test rings."""
    saved, found = load_run(run), []
    model = saved.session.model.eval()
    for shift in range(5):
        data = make(f"{GRAPH},shift={shift}")
        batch, test = make_batches(saved.session.config, data, saved.session.device).whole, data.split.test
        with torch.no_grad():
            predicted = model(batch.graph, batch.x)[test].argmax(dim=1)
        found.append(float((predicted == data.y[test]).double().mean()))
    return found


@pytest.mark.slow
def test_64_layers_solve_what_4_layers_cannot(tmp_path: Path) -> None:
    horizon = horizon_of(GRAPH)
    assert horizon is not None
    for depth in (4, 64):
        result = train(RUN.replace({"model.depth": depth}), tmp_path / str(depth))
        scores = scores_of_all_classes(tmp_path / str(depth))
        if depth == 4:  # 8 rounds of messages: whatever it has learned, over all shifts it is right once in 5
            assert sum(scores) / 5 == pytest.approx(horizon.chance)
        else:
            assert result.test == horizon.ceiling
            assert min(scores) == horizon.ceiling
