"""The configuration of a run, composed from a data set, a preset or a file, and changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from revgnn.experiments.compose import compose, default_folder
from revgnn.train.config import RunConfig
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
    assert compose("photo").preset == "auto"


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
    with default_folder(run) as folder:
        assert folder == Path("runs/mine-auto")


# --- the folder of a run that names none ----------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    monkeypatch.chdir(tmp_path)
    return compose("synthetic:nodes=240")


FIRST = Path("runs/synthetic-nodes=240-auto")
SECOND = Path("runs/synthetic-nodes=240-auto-run2")


def test_each_run_has_a_default_folder_of_its_own(run: RunConfig) -> None:
    with default_folder(run) as first, default_folder(run) as second:
        assert (first, second) == (FIRST, SECOND)
        assert first.is_dir()
        assert second.is_dir()
    assert not Path("runs").exists()  # nothing was put into them


def test_the_default_folder_to_resume_or_to_overwrite(run: RunConfig) -> None:
    with default_folder(run, resume=True) as folder:
        assert folder == FIRST  # there is none: a new one
        (folder / "config.yaml").write_text(run.to_yaml())
    for how in ({"resume": True}, {"overwrite": True}):
        with default_folder(run, **how) as folder:
            assert folder == FIRST
    SECOND.mkdir()
    (SECOND / "config.yaml").write_text(run.replace({"seed": 1}).to_yaml())
    for seed, expected in ((0, FIRST), (1, SECOND)):
        with default_folder(run.replace({"seed": seed}), resume=True) as folder:
            assert folder == expected
    for how, seed in (({"overwrite": True}, 0), ({"resume": True}, 2)):
        with pytest.raises(ConfigError, match=f"not clear: there are {FIRST}, {SECOND}; name one with --out"):
            default_folder(run.replace({"seed": seed}), **how).__enter__()


def test_of_equal_runs_the_unfinished_one_is_resumed(run: RunConfig) -> None:
    for folder in (FIRST, SECOND):
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(run.to_yaml())
    with pytest.raises(ConfigError, match="not clear"):
        default_folder(run, resume=True).__enter__()
    (FIRST / "result.json").touch()
    with default_folder(run, resume=True) as folder:
        assert folder == SECOND


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
    assert compose("ogbn-arxiv").preset == "auto"
