"""Training with replayed steps: refused configurations, and equal runs with and without replay."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from revgnn.train import train
from revgnn.train.config import RunConfig
from revgnn.train.config.errors import ConfigError
from revgnn.train.datasets import load_dataset
from revgnn.train.run.session import prepare, training_step


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("parts=2", "every step must have the same graph, got parts=2; set parts=1"),
        ("label_inputs=0.5", "label_inputs picks other nodes"),
        ("model={family: equilibrium, channels: 8, depth: 2}", "an equilibrium is solved for"),
        ("model={family: revgat, channels: 8, heads: 2, depth: 3, edge_dropout: 0.2}", "edge_dropout draws its seeds"),
    ],
)
def test_configurations_that_cannot_be_replayed_are_refused(change: str, why: str, config: RunConfig) -> None:
    whole = config.override(["parts=1", "capture=true"])
    with pytest.raises(ConfigError, match=f"capture repeats one recorded step: {why}.*or leave capture off"):
        whole.override([change])
    whole.override(["capture=false", change])


def test_it_may_change_on_resume(config: RunConfig) -> None:
    whole = config.override(["parts=1"])
    assert whole.digest == whole.override(["capture=true"]).digest


def test_on_the_cpu_a_run_is_the_same(config: RunConfig, tmp_path) -> None:
    """Metrics and weights, to the last bit."""
    lines, weights = [], []
    for capture in ("true", "false"):
        folder = tmp_path / capture
        train(config.override(["parts=1", "evaluation.parts=1", f"capture={capture}"]), folder)
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        lines.append([{key: row[key] for key in ("epoch", "loss", "train", "valid", "test")} for row in rows])
        weights.append((folder / "best.safetensors").read_bytes())
    assert lines[0] == lines[1]
    assert len(lines[0]) == 4


@pytest.mark.parametrize("amp", ["none", "bf16", "fp16"])
@pytest.mark.parametrize("task", ["multiclass", "multiclass, log", "binary", "multilabel"])
def test_steps_of_every_kind_can_be_recorded(amp: str, task: str, config: RunConfig) -> None:
    """Rehearsed on the CPU: nothing is read on the host before the update."""
    loss = "log" if task.endswith("log") else "cross_entropy"
    config = config.override(["parts=1", "capture=true", f"amp={amp}", f"loss={loss}"])
    dataset = load_dataset(config.data)
    if task.startswith("multiclass"):
        y = torch.randint(0, 4, (240,))
        dataset = replace(dataset, task="multiclass", y=y, num_outputs=4, metric="accuracy", task_names=None)
    elif task == "binary":
        dataset = replace(dataset, task="binary", y=torch.randint(0, 2, (240,)), num_outputs=1, task_names=None)
    assert task.startswith(dataset.task)
    session = prepare(config, dataset)
    assert session.captured is not None
    session.model.train()
    first = training_step(session, session.batches.whole)
    loss_, total = session.captured.rehearse()
    assert torch.equal(loss_, total)
    second = session.scaler.update(session.model, session.optimizer, loss_, total, session.config.optim.clip_norm)
    assert second == float(loss_)
    assert 0.0 < second != first


@pytest.mark.gpu
@pytest.mark.parametrize("amp", ["none", "bf16", "fp16"])
def test_a_run_is_the_same_on_the_gpu(amp: str, config: RunConfig, tmp_path) -> None:
    """With replays from the fourth epoch on, and resumed in the sixth."""
    losses = []
    for capture in ("true", "false"):
        folder = tmp_path / capture
        changes = ["parts=1", "evaluation.parts=1", "device=cuda", f"amp={amp}", f"capture={capture}"]
        train(config.override([*changes, "epochs=6"]), folder)
        train(config.override([*changes, "epochs=12"]), folder, resume=True)
        losses.append([json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()])
    assert losses[0] == losses[1]
    assert len(losses[0]) == 12
