"""Where presets differ from the authors' code: each difference is a note of every preset that it concerns, and a note is true."""

from __future__ import annotations

import re
import warnings

import pytest
import torch
from typer.testing import CliRunner

from revgnn.cli.app import app
from revgnn.experiments import Preset, all_presets, find_preset
from revgnn.experiments.catalogue import notes
from revgnn.models.config import EquilibriumConfig, ResidualConfig, RevGATConfig
from revgnn.train.config import RunConfig
from revgnn.train.run.session import Session, prepare, training_step

NETWORKS = [
    preset
    for preset in all_presets()
    if preset.parameters is not None and preset.run.data is not None and preset.run.data.name != "ogbn-humanppi"
]
"""The networks of the paper."""

NOTES = {note for preset in NETWORKS for note in preset.notes}


def by_name(preset: Preset) -> str:
    return preset.name


@pytest.mark.parametrize("preset", NETWORKS, ids=by_name)
def test_every_difference_is_noted(preset: Preset) -> None:
    model = preset.run.model
    assert preset.run.data is not None
    expected = {
        notes.MIXED_PRECISION: preset.run.data.name == "ogbn-proteins",
        notes.MASK_PER_LAYER: isinstance(model, ResidualConfig) or (isinstance(model, RevGATConfig) and model.groups == 1),
        notes.COPIED_GROUPS: model.groups > 1,
        notes.TIED_LAYERS: model.tied,
        notes.STATISTICS: isinstance(model, RevGATConfig) and model.groups > 1,
        notes.BEST_EPOCH: isinstance(model, RevGATConfig),
        notes.STUDENT: preset.run.distillation is not None,
        notes.NO_CODE: preset.run.data.name == "ogbn-products",
    }
    for note, concerned in expected.items():
        assert (note in preset.notes) == concerned, note
    if isinstance(model, EquilibriumConfig):
        assert (notes.SOLVER in preset.notes) != (notes.ITERATIONS in preset.notes)
    assert len(set(preset.notes)) == len(preset.notes)


def settings(note: str) -> list[str]:
    return re.findall(r"`([a-z_]+(?:\.[a-z_]+)*=[^`]+)`", note)


def test_notes_name_settings() -> None:
    named = {setting for note in NOTES for setting in settings(note)}
    assert named >= {
        *("evaluation.amp=fp16", "model.identical_groups=true", "model.shared_dropout=false", "model.unit=pair"),
        *("model.gradient=backprop", "model.checkpoint_every=11", "distillation.average=nodes", "model.norm=layer"),
    }


@pytest.mark.parametrize("preset", NETWORKS, ids=by_name)
def test_settings_in_notes_are_the_other_choice(preset: Preset) -> None:
    """Each can be set, and changes the run, except where the note says for which depths it is."""
    for note in preset.notes:
        for setting in settings(note):
            if setting == "model.unit=pair" and preset.run.model.depth % 2:
                continue
            key = setting.partition("=")[0]
            changed = preset.run.override([setting])
            assert preset.run.differences(changed).keys() == {key}, setting


def test_no_preset_has_an_aggregation_that_the_authors_code_computes_otherwise() -> None:
    """Their power mean is clamped, and their message norm has a fixed scale; `GENConv` says how ours are."""
    for preset in NETWORKS:
        flat = preset.run.model.flat()
        assert not flat["message_norm"]
        assert flat["aggregation"] in ("max", "mean", "softmax-semigrad")


@pytest.mark.parametrize("preset", all_presets(), ids=by_name)
def test_the_command_prints_notes_above_the_settings(preset: Preset, tmp_path) -> None:
    answer = CliRunner().invoke(app, ["presets", preset.name])
    assert answer.exit_code == 0, answer.output
    comments = [line for line in answer.stdout.splitlines() if line.startswith("#")]
    text = " ".join(line.removeprefix("# ").removeprefix("- ").strip() for line in comments)
    assert preset.description in text
    assert all(note in text for note in preset.notes)
    assert all(len(line) <= 120 for line in comments)
    (tmp_path / "run.yaml").write_text(answer.stdout, encoding="utf-8")
    assert RunConfig.from_yaml(tmp_path / "run.yaml") == preset.run


# --- what the notes claim of ours ---------------------------------------------------------------------------------------


def small_session(preset: str, **changes: object) -> Session:
    """A run of the preset with few channels and layers, on the generated graph."""
    run = find_preset(preset).run
    small = {"model.channels": 12, "model.depth": 4, "loss": "cross_entropy", "device": "cpu"}
    return prepare(run.with_data("synthetic:nodes=240,degree=8,tasks=3").replace({**small, **changes}))


def test_batch_norm_moves_its_statistics_twice_a_step_of_revgat() -> None:
    session = small_session("revgat")
    training_step(session, session.batches.whole)
    counts = {name: int(b) for name, b in session.model.named_buffers() if name.endswith("num_batches_tracked")}
    assert set(counts.values()) == {2}
    assert sum(name.startswith("stack.") for name in counts) == 4


@pytest.mark.parametrize(("identical", "alike"), [(False, False), (True, True)])
def test_groups_start_with_weights_of_their_own_or_as_copies(identical: bool, alike: bool) -> None:
    model = small_session("revgat", **{"model.identical_groups": identical}).model
    first, second = (dict(block.named_parameters()) for block in model.get_submodule("stack.layers.0.blocks").children())
    assert all(torch.equal(first[name], second[name]) for name in first) == alike


@pytest.mark.parametrize("iterations", [3, 56])
def test_iterations_limit_training_and_evaluation(iterations: int) -> None:
    """With a tolerance that no solve reaches, each takes exactly as many."""
    preset = {3: "deq-gnn-64-iterations-3", 56: "deq-gnn-224-iterations-56"}[iterations]
    session = small_session(preset, **{"model.solver.rtol": 1e-30, "model.solver.backward_steps": 3})
    batch = session.batches.whole
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of solves that do not converge
        training_step(session, batch)
        trained = session.model.take_solves()
        with torch.no_grad():
            session.model.eval()(batch.graph, batch.x, batch.species)
    assert trained is not None
    evaluated = session.model.take_solves()
    assert evaluated is not None
    assert (trained.forward_steps, evaluated.forward_steps) == (iterations, iterations)


def test_the_weight_tied_network_of_seven_layers_trains() -> None:
    session = small_session("wt-revgnn-224-depth-7", **{"model.depth": 7})
    layers = list(session.model.get_submodule("stack.layers").children())
    assert len(layers) == 2  # children are listed once
    losses = [training_step(session, session.batches.whole) for _ in range(3)]
    assert losses[-1] < losses[0]
