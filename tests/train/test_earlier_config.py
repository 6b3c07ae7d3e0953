"""Runs begun before each family had its own configuration: their config.yaml is read, and they resume."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from revgnn.models.config import ModelConfig
from revgnn.train.config import DataConfig, RunConfig, digest_as_written
from revgnn.train.run.checkpoint import load_state
from revgnn.train.run.events import Event, Stepped
from revgnn.train.run.loop import Interrupted, train
from revgnn.train.run.session import prepare
from revgnn.train.run.tensor_file import CheckpointError, read_tensors, write_tensors
from tests.train.test_resume import assert_same_run

FILE = Path(__file__).with_name("earlier_config.yaml")
"""As it was written then: every setting of every family and convolution, among them an aggregation, which gcn does not have."""

DIGEST = "71c92553bd2ad03d"
"""What the saved state of that run carries."""


def test_its_file_is_read() -> None:
    model = RunConfig.from_yaml(FILE).model
    assert model == ModelConfig(conv="gcn", depth=3, channels=8, norm="batch", dropout=0.3)
    assert "aggregation" not in model.model_dump()


def test_its_digest_is_known() -> None:
    assert digest_as_written(FILE) == DIGEST
    assert RunConfig.from_yaml(FILE).digest != DIGEST


def test_the_digest_of_a_run_without_such_settings_has_not_changed() -> None:
    assert RunConfig(data=DataConfig(name="synthetic:nodes=240,degree=8,tasks=3")).digest == "7005781b8f4153c7"


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """The folder of that run, stopped in its second epoch."""
    folder, steps = tmp_path / "stopped", []

    def count(event: Event) -> None:
        steps.extend([event] if isinstance(event, Stepped) else [])

    with pytest.raises(Interrupted):
        train(RunConfig.from_yaml(FILE), folder, hooks=[count], should_stop=lambda: len(steps) == 5)
    tensors, note = read_tensors(folder / "last.safetensors")
    write_tensors(folder / "last.safetensors", tensors, {**note, "config": DIGEST})
    shutil.copy(FILE, folder / "config.yaml")
    return folder


def test_it_resumes_bit_for_bit(stopped: Path, tmp_path: Path) -> None:
    config = RunConfig.from_yaml(FILE)
    train(config, tmp_path / "unbroken")
    train(config, stopped, resume=True)
    assert_same_run(stopped, tmp_path / "unbroken")


def test_its_state_has_the_new_digest_before_its_file_is_written_again(stopped: Path) -> None:
    """A process that is killed in between leaves a run that resumes."""
    config = RunConfig.from_yaml(FILE)
    before, _ = read_tensors(stopped / "last.safetensors")
    load_state(stopped / "last.safetensors", prepare(config))
    after, note = read_tensors(stopped / "last.safetensors")
    assert note["config"] == config.digest
    assert after.keys() == before.keys()
    assert all(after[name].equal(before[name]) for name in before)


def test_a_state_of_another_run_is_refused(stopped: Path) -> None:
    tensors, note = read_tensors(stopped / "last.safetensors")
    write_tensors(stopped / "last.safetensors", tensors, {**note, "config": "0" * 16})
    with pytest.raises(CheckpointError, match="belongs to a run with another configuration"):
        train(RunConfig.from_yaml(FILE), stopped, resume=True)
