"""Presets: found by name, valid, and of the published sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from revgnn.data.catalogue import find_entry
from revgnn.experiments.presets import all_presets, get_preset, preset
from revgnn.experiments.presets.compose import compose, default_folder
from revgnn.models import build_model, num_parameters
from revgnn.train.config import RunConfig
from revgnn.train.config.errors import ConfigError

SPECIES = {"ogbn-proteins": 8, "ogbn-humanppi": 1}


@pytest.mark.parametrize("name", [p.name for p in all_presets()])
def test_every_preset_is_a_whole_run(name: str) -> None:
    run = get_preset(name)
    assert run.preset == name
    assert RunConfig.parse(run.model_dump(mode="json")) == run
    assert next(p for p in all_presets() if p.name == name).description.endswith(".")


@pytest.mark.parametrize("entry", [p for p in all_presets() if p.parameters is not None], ids=lambda p: p.name)
def test_sizes_are_those_that_the_presets_state(entry) -> None:
    """On ogbn-proteins these are the published ones."""
    run = entry.build()
    data = find_entry(run.data.name)
    assert data is not None
    labels = data.num_outputs if run.label_inputs else 0
    with torch.device("meta"):  # no memory, no initialisation: numbers of numbers
        model = build_model(
            run.model,
            in_channels=data.num_features + labels,
            out_channels=data.num_outputs,
            num_edge_features=data.num_edge_features,
            num_species=SPECIES.get(data.name, 0),
        )
    assert num_parameters(model) == entry.parameters


@pytest.mark.parametrize("name", [p.name for p in all_presets() if p.build().data and p.build().data.name == "ogbn-arxiv"])
def test_the_protocol_of_ogbn_arxiv(name: str) -> None:
    run = get_preset(name)
    assert (run.data.undirected, run.data.self_loops, run.parts, run.epochs) == (True, True, 1, 2000)
    assert (run.model.norm, run.evaluation.parts, run.optim.clip_norm) == ("batch", 1, None)
    rev = run.model.family == "revgat"
    assert (run.optim.name, run.optim.lr, run.optim.warmup) == (("rmsprop", 2e-3, 50) if rev else ("adam", 1e-3, 0))
    assert run.model.dropout == (0.75 if rev else 0.5)
    assert (run.loss, run.label_inputs, run.label_reuse) == (("log", 0.5, 1) if rev else ("cross_entropy", 0.0, 0))
    assert (run.distillation is not None) == (name == "revgat-selfkd")


@pytest.mark.parametrize("name", [p.name for p in all_presets() if p.name.startswith("products-")])
def test_the_protocol_of_ogbn_products(name: str) -> None:
    run = get_preset(name)
    assert (run.data.name, run.data.self_loops, run.parts, run.epochs) == ("ogbn-products", True, 10, 1000)
    assert (run.evaluation.parts, run.optim.name, run.optim.lr, run.model.norm) == (1, "adam", 1e-3, "batch")
    assert run.model.dropout == 0.5


def test_a_student_is_its_teacher_but_for_what_it_learns_from() -> None:
    student, teacher = get_preset("revgat-selfkd"), get_preset("revgat")
    assert set(teacher.differences(student)) == {f"distillation.{key}" for key in ("alpha", "temperature", "average")}
    assert student.distillation.teacher is None
    assert (student.distillation.alpha, student.distillation.temperature) == (0.95, 0.7)
    assert student.distillation.average == "entries"


def test_a_teacher_is_named_beside_a_preset(tmp_path: Path) -> None:
    run = compose("cora", teacher=tmp_path / "a", settings=["distillation.alpha=0.9"])
    assert run.distillation is not None
    assert (run.distillation.teacher, run.distillation.alpha) == (str(tmp_path / "a"), 0.9)


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
    from revgnn.experiments.presets.compose import compose

    assert compose("ogbn-humanppi").preset == "humanppi"
    assert compose("tolokers").preset == "tolokers"
    assert compose("ogbn-arxiv").preset == "revgnn-28"
