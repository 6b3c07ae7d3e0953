"""Runs with stochastic depth: weights that no part of a step uses stay as they are, and a resumed run skips what it would have."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from revgnn.train.config import RunConfig
from revgnn.train.run.footprint import compare_footprint
from revgnn.train.run.loop import train
from revgnn.train.run.session import Session, prepare, training_step
from revgnn.train.run.steps import EpochSteps
from revgnn.train.run.team import ALONE
from revgnn.train.run.tensor_file import read_tensors
from tests.train.test_resume import Crash, assert_same_run, crash_at


@pytest.fixture
def skipping(config: RunConfig) -> RunConfig:
    return config.override(["model.stochastic_depth=0.9", "optim.weight_decay=0.1"])


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_weights_and_moments_of_a_skipped_layer_stay_as_they_are(skipping: RunConfig, optimizer: str) -> None:
    """Neither momentum of earlier steps nor weight decay moves them."""
    session = prepare(skipping.override([f"optim.name={optimizer}", "parts=1"]))
    session.model.train()
    kinds = set()
    for _ in range(6):
        names = dict(session.model.named_parameters())
        before = {name: (p.detach().clone(), _moments(session, p)) for name, p in names.items()}
        training_step(session, session.batches.whole)
        for name, p in names.items():
            old, moments = before[name]
            assert torch.equal(p, old) == (p.grad is None), name
            now = _moments(session, p)
            if p.grad is None:
                assert moments.keys() == now.keys()
                assert all(torch.equal(moments[key], now[key]) for key in now)
                kinds.add((name, bool(now)))
    assert {has_moments for _, has_moments in kinds} == {True, False}, "layers were skipped before and after their first step"


def _moments(session: Session, p: torch.Tensor) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in session.optimizer.state.get(p, {}).items()}


@pytest.mark.parametrize("per_step", [1, 2])
def test_a_resumed_run_goes_on_bit_for_bit(skipping: RunConfig, tmp_path: Path, per_step: int) -> None:
    config = skipping.override([f"parts_per_step={per_step}", "epochs=3"])
    train(config, tmp_path / "unbroken")
    for epoch, step in ((1, 1), (3, 1)):
        folder = tmp_path / f"{epoch}-{step}"
        with pytest.raises(Crash):
            train(config, folder, hooks=[crash_at(epoch, step)])
        torch.manual_seed(1234)  # the generators of the next process
        train(config, folder, resume=True)
        assert_same_run(folder, tmp_path / "unbroken")
    tensors, _ = read_tensors(tmp_path / "unbroken" / "last.safetensors")
    steps = {int(t) for name, t in tensors.items() if name.endswith(".step")}
    assert len(steps) > 1, "the run skips layers"


def test_a_state_without_some_moments_is_restored(skipping: RunConfig, tmp_path: Path) -> None:
    """A layer that every step so far has skipped has none."""
    config = skipping.override(["parts=1", "epochs=1"])
    train(config, tmp_path / "a")
    tensors, _ = read_tensors(tmp_path / "a" / "last.safetensors")
    assert sum(name.endswith(".step") for name in tensors) < len(list(prepare(config).model.parameters()))
    train(config.override(["epochs=3"]), tmp_path / "a", resume=True)
    train(config.override(["epochs=3"]), tmp_path / "b")
    assert_same_run(tmp_path / "a", tmp_path / "b")


def test_what_a_part_skips_depends_on_seed_epoch_and_part_only(skipping: RunConfig) -> None:
    """Not on the parts before it, which other processes may have."""

    def gradients(start: int, epoch: int = 1, seed: int = 0) -> list[bool]:
        session = prepare(skipping.override(["parts=4", "parts_per_step=2", f"seed={seed}"]))
        session.model.train()
        torch.rand(start + 7)
        for _ in EpochSteps(session, epoch, start, ALONE, ALONE.exchange(session.model)):
            pass
        return [p.grad is not None for p in session.model.parameters()]

    assert gradients(0) == gradients(1), "the last step is the same"
    assert any(gradients(1) != gradients(1, epoch, seed) for epoch, seed in ((2, 0), (3, 0), (1, 1), (1, 2)))


def test_the_memory_of_a_step_is_measured_with_all_layers(skipping: RunConfig, config: RunConfig) -> None:
    assert compare_footprint(skipping.override(["parts=1"])) == compare_footprint(config.override(["parts=1"]))
