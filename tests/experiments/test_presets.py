"""Presets: complete, found by name, and with the protocols of the paper."""

from __future__ import annotations

import pytest

from revgnn.experiments import Preset, all_presets, get_preset
from revgnn.experiments.catalogue import small_graphs
from revgnn.train.config import RunConfig
from revgnn.train.config.errors import ConfigError


@pytest.mark.parametrize("name", [p.name for p in all_presets()])
def test_every_preset_is_a_whole_run(name: str) -> None:
    run = get_preset(name)
    assert run.preset == name
    assert RunConfig.parse(run.model_dump(mode="json")) == run
    assert next(p for p in all_presets() if p.name == name).description.endswith(".")


@pytest.mark.parametrize("name", [p.name for p in all_presets() if p.run.data and p.run.data.name == "ogbn-proteins"])
def test_the_protocol_of_ogbn_proteins(name: str) -> None:
    """Supplement, B.2; the dropout of RevGNN-Wide is that of the authors' README."""
    run = get_preset(name)
    assert (run.epochs, run.parts, run.evaluation.parts, run.optim.name, run.optim.lr) == (2000, 10, 5, "adam", 1e-3)
    assert (run.model.norm, run.model.convolution.aggregation) == ("layer", "max")
    assert run.model.dropout == (0.2 if name == "revgnn-wide" else 0.1)
    assert run.model.flat()["mlp_layers"] == 2


@pytest.mark.parametrize("name", [p.name for p in all_presets() if p.run.data and p.run.data.name == "ogbn-arxiv"])
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


def test_a_student_differs_from_its_teacher_only_in_distillation() -> None:
    student, teacher = get_preset("revgat-selfkd"), get_preset("revgat")
    assert set(teacher.differences(student)) == {f"distillation.{key}" for key in ("alpha", "temperature", "average")}
    assert student.distillation.teacher is None
    assert (student.distillation.alpha, student.distillation.temperature) == (0.95, 0.7)
    assert student.distillation.average == "entries"


def test_names_are_unique(monkeypatch: pytest.MonkeyPatch) -> None:
    again = Preset("revgnn-28", "Another.", RunConfig())
    monkeypatch.setattr(small_graphs, "PRESETS", (*small_graphs.PRESETS, again))
    with pytest.raises(ValueError, match="two different presets called revgnn-28"):
        all_presets()


def test_unknown_preset() -> None:
    with pytest.raises(ConfigError, match="unknown preset 'revgn-28'; did you mean revgnn-28"):
        get_preset("revgn-28")
    with pytest.raises(ConfigError, match="there are auto, revgnn-7"):
        get_preset("zzzzzz")
