"""Presets: found by name, valid, and of the published sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from revgnn.models import build_model, num_parameters
from revgnn.presets import all_presets, get_preset, preset
from revgnn.presets.compose import compose, default_folder
from revgnn.train.config import RunConfig
from revgnn.train.config_errors import ConfigError


@pytest.mark.parametrize("name", [p.name for p in all_presets()])
def test_every_preset_is_a_whole_run(name: str) -> None:
    run = get_preset(name)
    assert run.preset == name
    assert RunConfig.parse(run.model_dump(mode="json")) == run
    assert next(p for p in all_presets() if p.name == name).description.endswith(".")


@pytest.mark.parametrize("entry", [p for p in all_presets() if p.parameters is not None], ids=lambda p: p.name)
def test_sizes_on_ogbn_proteins_are_the_published_ones(entry) -> None:
    with torch.device("meta"):  # no memory, no initialisation: numbers of numbers
        model = build_model(entry.build().model, in_channels=8, out_channels=112, num_edge_features=8, num_species=8)
    assert num_parameters(model) == entry.parameters


def test_names_are_given_once() -> None:
    def revgnn_28() -> RunConfig:
        return RunConfig()

    with pytest.raises(ValueError, match="two presets called revgnn-28"):
        preset()(revgnn_28)


def test_unknown_preset() -> None:
    with pytest.raises(ConfigError, match="unknown preset 'revgn-28'; did you mean revgnn-28"):
        get_preset("revgn-28")
    with pytest.raises(ConfigError, match="there are revgnn-7"):
        get_preset("zzzzzz")


def test_what_comes_later_wins(tmp_path: Path) -> None:
    run = compose("tolokers", preset="revgnn-28", root=tmp_path, settings=["epochs=5", "model.depth=3"], epochs=7, seed=None)
    assert (run.epochs, run.model.depth, run.seed) == (7, 3, 0)
    assert run.data is not None
    assert (run.data.name, run.data.root) == ("tolokers", str(tmp_path))


def test_without_a_preset_it_is_the_data_sets_own_or_the_default() -> None:
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


def test_a_data_set_of_ogb_finds_its_preset() -> None:
    from revgnn.presets.compose import compose

    assert compose("ogbn-humanppi").preset == "humanppi"
    assert compose("tolokers").preset == "tolokers"
    assert compose("ogbn-arxiv").preset == "revgnn-28"
