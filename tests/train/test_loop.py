"""Training: the content of a run folder, the end of training, and refused runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from revgnn.train.batches import Batch
from revgnn.train.config import EvalConfig, RunConfig
from revgnn.train.inference.evaluate import evaluate_run
from revgnn.train.inference.views import infer, view_seed
from revgnn.train.metrics import score_splits
from revgnn.train.run import steps
from revgnn.train.run.events import EpochEnded, Event, Started, Stepped
from revgnn.train.run.folder import RunFolder, RunFolderError
from revgnn.train.run.loop import train
from revgnn.train.run.optimization import Diverged
from revgnn.train.run.session import Session, prepare, training_step
from revgnn.train.run.tensor_file import CheckpointError, read_tensors


def test_the_content_of_a_run_folder(config: RunConfig, tmp_path: Path) -> None:
    events: list[Event] = []
    result = train(config, tmp_path / "a", hooks=[events.append])
    folder = RunFolder(tmp_path / "a")

    assert sorted(p.name for p in folder.path.iterdir()) == sorted(RunFolder.FILES)
    assert folder.config() == config
    assert folder.result() == result.as_dict()
    lines = folder.metrics()
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    best = max(lines, key=lambda line: line["valid"])  # the first of equals
    assert (result.best_epoch, result.valid, result.test) == (best["epoch"], best["valid"], best["test"])
    assert result.peak_bytes == lines[0]["peak_bytes"] > 0
    environment = json.loads(folder.environment_file.read_text())
    assert environment["packages"]["torch"] == torch.__version__

    assert isinstance(events[0], Started)
    assert [(e.epoch, e.step) for e in events if isinstance(e, Stepped)] == [(e, s) for e in range(1, 5) for s in range(1, 4)]
    assert [e.epoch for e in events if isinstance(e, EpochEnded) and e.is_best][-1] == result.best_epoch


def test_the_best_weights_score_what_the_run_recorded(config: RunConfig, tmp_path: Path) -> None:
    result = train(config, tmp_path / "a")
    scores = evaluate_run(tmp_path / "a")
    assert (scores["train"], scores["valid"], scores["test"]) == (result.train, result.valid, result.test)


def test_the_loss_falls(config: RunConfig, tmp_path: Path) -> None:
    train(config.override(["epochs=25", "model.dropout=0", "model.norm=layer", "evaluation.every=25"]), tmp_path / "a")
    losses = [line["loss"] for line in RunFolder(tmp_path / "a").metrics()]
    assert losses[-1] < 0.9 * losses[0]


def test_the_same_configuration_gives_the_same_run_and_another_seed_another(config: RunConfig, tmp_path: Path) -> None:
    first, second, other = (
        train(config.override([f"seed={seed}"]), tmp_path / name) for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert first.valid == second.valid != other.valid


def test_evaluation_every_few_epochs_and_always_after_the_last(config: RunConfig, tmp_path: Path) -> None:
    train(config.override(["evaluation.every=3"]), tmp_path / "a")
    assert [line["valid"] is not None for line in RunFolder(tmp_path / "a").metrics()] == [False, False, True, True]


def test_patience(config: RunConfig, tmp_path: Path) -> None:
    result = train(config.override(["epochs=200", "patience=3", "optim.lr=1e-12", "model.norm=layer"]), tmp_path / "a")
    assert result.stopped == "patience"
    assert result.epochs == result.best_epoch + 3 < 200


@pytest.mark.parametrize("amp", ["bf16", "fp16"])
def test_mixed_precision(config: RunConfig, tmp_path: Path, amp: str) -> None:
    train(config.override([f"amp={amp}", f"evaluation.amp={amp}", "epochs=2"]), tmp_path / "a")
    weights, _ = read_tensors(tmp_path / "a" / "best.safetensors")
    assert all(w.dtype == torch.float32 for w in weights.values() if w.is_floating_point())
    _, note = read_tensors(tmp_path / "a" / "last.safetensors")
    assert bool(note["scaler"]) == (amp == "fp16")


def test_parts_without_labelled_nodes_are_skipped(config: RunConfig, tmp_path: Path) -> None:
    steps: list[Event] = []
    train(config.override(["parts=80", "epochs=1"]), tmp_path / "a", hooks=[steps.append])
    _, note = read_tensors(tmp_path / "a" / "last.safetensors")
    tensors, _ = read_tensors(tmp_path / "a" / "last.safetensors")
    assert sum(isinstance(e, Stepped) for e in steps) == 80
    assert note["state"]["epoch"] == 1
    assert 0 < float(tensors["optimizer.0.step"]) < 80


def test_the_gradient_is_clipped(config: RunConfig) -> None:
    for limit, clipped in ((1e-3, True), (None, False)):
        session = prepare(config.replace({"optim.clip_norm": limit}))
        session.model.train()
        training_step(session, session.batches.whole)
        norm = torch.stack([p.grad.norm() for p in session.model.parameters() if p.grad is not None]).norm()
        assert (float(norm) <= 1.001e-3) == clipped


def test_the_logarithmic_loss_needs_one_class_per_node(config: RunConfig) -> None:
    with pytest.raises(ValueError, match=r"loss=log needs one class per node, and .* is multilabel; use loss=cross_entropy"):
        prepare(config.override(["loss=log"]))


@pytest.mark.parametrize("weight", ["head.weight", "nodes"])  # the loss is not finite; the state leaves its grid
def test_a_run_that_diverges_keeps_the_last_saved_state(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weight: str
) -> None:
    train(config.override(["epochs=2"]), tmp_path / "a")
    before, _ = read_tensors(tmp_path / "a" / "last.safetensors")
    step = steps.training_step

    def step_with_nan(session: Session, batch: Batch, epochs_done: float) -> float:
        next(p for name, p in session.model.named_parameters() if name.startswith(weight)).data.fill_(torch.nan)
        return step(session, batch, epochs_done)

    monkeypatch.setattr(steps, "training_step", step_with_nan)
    with pytest.raises(Diverged, match=r"diverged in epoch 3, step 1: .*nan.* The last saved state stays .* smaller optim.lr"):
        train(config, tmp_path / "a", resume=True)
    after, _ = read_tensors(tmp_path / "a" / "last.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


# --- the folder ---------------------------------------------------------------------------------------------------------


def test_a_folder_with_a_run_is_refused(config: RunConfig, tmp_path: Path) -> None:
    train(config.override(["epochs=1"]), tmp_path / "a")
    before = {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()}
    with pytest.raises(RunFolderError, match="already holds a run"):
        train(config, tmp_path / "a")
    with pytest.raises(RunFolderError, match=r"model.depth was 3, is now 5; optim.lr was 0.01, is now 0.1"):
        train(config.override(["model.depth=5", "optim.lr=0.1"]), tmp_path / "a", resume=True)
    with pytest.raises(RunFolderError, match="give one of them"):
        train(config, tmp_path / "a", resume=True, overwrite=True)
    assert {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()} == before


def test_a_folder_with_other_files_is_refused(config: RunConfig, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunFolderError, match="is not empty"):
        train(config, tmp_path)
    with pytest.raises(RunFolderError, match=r"no config\.yaml"):
        train(config, tmp_path, resume=True)
    with pytest.raises(RunFolderError, match="is a file"):
        train(config, tmp_path / "thesis.tex")


def test_overwrite_replaces_only_the_run(config: RunConfig, tmp_path: Path) -> None:
    short = config.override(["epochs=2"])
    train(short, tmp_path / "a")
    (tmp_path / "a" / "notes.txt").write_text("mine")
    train(short.override(["seed=1", "epochs=1"]), tmp_path / "a", overwrite=True)
    assert (tmp_path / "a" / "notes.txt").read_text() == "mine"
    assert len(RunFolder(tmp_path / "a").metrics()) == 1
    assert RunFolder(tmp_path / "a").config().seed == 1


def test_an_error_before_training_leaves_the_old_run(config: RunConfig, tmp_path: Path) -> None:
    train(config.override(["epochs=1"]), tmp_path / "a")
    before = {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()}
    with pytest.raises(ValueError, match="parts must be between 1 and the number of nodes"):
        train(config.override(["parts=1000"]), tmp_path / "a", overwrite=True)
    assert {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()} == before


# --- evaluation ---------------------------------------------------------------------------------------------------------


def test_one_part_is_the_whole_graph(config: RunConfig) -> None:
    session = prepare(config)
    session.model.train()
    logits = infer(session.model, session.batches, EvalConfig(parts=1, views=5), seed=0)
    assert session.model.training
    session.model.eval()
    data = session.dataset
    with torch.no_grad():
        assert torch.equal(logits, session.model(data.graph, data.x, data.species))


def test_views_are_averaged_and_independent(config: RunConfig) -> None:
    session = prepare(config)

    def logits(views: int, seed: int = 0) -> torch.Tensor:
        return infer(session.model, session.batches, EvalConfig(parts=3, views=views), seed)

    whole = infer(session.model, session.batches, EvalConfig(), seed=0)
    assert torch.equal(logits(2), logits(2))
    assert not torch.equal(logits(1), logits(1, seed=1))
    errors = [float((logits(views) - whole).square().mean()) for views in (1, 16)]
    assert errors[1] < errors[0]  # averaging reduces the part of the error that differs between views


def test_a_view_is_the_model_on_each_part(config: RunConfig) -> None:
    session = prepare(config)
    logits = infer(session.model, session.batches, EvalConfig(parts=4, views=1), seed=3)
    session.model.eval()
    seen = torch.zeros(session.dataset.num_nodes, dtype=torch.int64)
    for batch in session.batches.view(4, view_seed(3, 0)):
        assert batch.nodes is not None
        seen[batch.nodes] += 1
        with torch.no_grad():
            assert torch.equal(logits[batch.nodes], session.model(batch.graph, batch.x, batch.species))
    assert bool((seen == 1).all())


def test_an_empty_test_split_has_no_score(config: RunConfig) -> None:
    session = prepare(config)
    split = replace(session.dataset.split, test=torch.empty(0, dtype=torch.int64))
    dataset = replace(session.dataset, splits=(split,))
    assert score_splits(dataset, torch.randn(dataset.num_nodes, dataset.num_outputs)).test is None


# --- refused runs -------------------------------------------------------------------------------------------------------


def test_no_data_set(config: RunConfig) -> None:
    with pytest.raises(ValueError, match="no data set is named"):
        prepare(config.model_copy(update={"data": None}))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device exists")
def test_a_missing_cuda_device(config: RunConfig) -> None:
    with pytest.raises(ValueError, match="torch sees no CUDA device"):
        prepare(config.override(["device=cuda"]))


def test_weights_of_another_model_are_refused(config: RunConfig, tmp_path: Path) -> None:
    train(config.override(["epochs=1"]), tmp_path / "a")
    folder = RunFolder(tmp_path / "a")
    folder.config_file.write_text(config.override(["model.channels=16", "epochs=1"]).to_yaml())
    with pytest.raises(CheckpointError, match=r"has shape .* the model's has"):
        evaluate_run(tmp_path / "a")
    folder.config_file.write_text(config.override(["model.depth=5", "epochs=1"]).to_yaml())
    with pytest.raises(CheckpointError, match="belongs to another model"):
        evaluate_run(tmp_path / "a")
