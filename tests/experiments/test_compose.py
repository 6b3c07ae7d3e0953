"""The configuration of a run, composed from a data set, a preset or a file, and changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from revgnn.experiments.compose import compose, default_folder
from revgnn.train.config.errors import ConfigError


def test_later_arguments_override_earlier_ones(tmp_path: Path) -> None:
    run = compose(
        "tolokers", preset="revgnn-28", root=tmp_path, settings=["epochs=5", "model.depth=3"], changes={"epochs": 7, "seed": None}
    )
    assert (run.epochs, run.model.depth, run.seed) == (7, 3, 0)
    assert run.data is not None
    assert (run.data.name, run.data.root) == ("tolokers", str(tmp_path))


def test_the_preset_of_a_data_set() -> None:
    assert compose("tolokers").preset == "tolokers"
    assert compose("Cora").preset == "cora"
    assert compose("photo").preset == "revgnn-28"


def test_a_preset_for_a_data_set_needs_no_other() -> None:
    run = compose(preset="revgnn-deep")
    assert run.data is not None
    assert run.data.name == "ogbn-proteins"
    with pytest.raises(ConfigError, match="fits any data set; name one"):
        compose(preset="revgnn-28")
    with pytest.raises(ConfigError, match="name a data set"):
        compose()


def test_paths_are_stored_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.npz").touch()
    run = compose("mine.npz", root=Path("data"))
    assert run.data is not None
    assert (run.data.name, run.data.root) == (str(tmp_path / "mine.npz"), str(tmp_path / "data"))
    assert default_folder(run) == Path("runs/mine-revgnn-28")


def test_a_file_and_a_preset_contradict(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give one of them"):
        compose("cora", preset="cora", config_file=tmp_path / "a.yaml")


def test_a_teacher(tmp_path: Path) -> None:
    run = compose("cora", teacher=tmp_path / "a", settings=["distillation.alpha=0.9"])
    assert run.distillation is not None
    assert (run.distillation.teacher, run.distillation.alpha) == (str(tmp_path / "a"), 0.9)


def test_a_data_set_of_ogb_finds_its_preset() -> None:
    assert compose("ogbn-humanppi").preset == "humanppi"
    assert compose("tolokers").preset == "tolokers"
    assert compose("ogbn-arxiv").preset == "revgnn-28"
