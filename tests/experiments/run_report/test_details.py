"""What is computed from weights, against scikit-learn, the definitions, and the scores of the run."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix, r2_score, roc_auc_score
from torch import Tensor

from revgnn.data.generated.synthetic import generate
from revgnn.experiments.run_report import details as module
from revgnn.experiments.run_report.depth_profile import activation_profile, gradient_profile
from revgnn.experiments.run_report.details import MOST_CLASSES, run_details, saved_details, scored_details
from revgnn.stack import Stack
from revgnn.train import RunFolder
from revgnn.train.inference.calibration import BINS, calibration_error
from revgnn.train.inference.saved_run import SavedRun, load_run


def test_of_a_run_on_a_real_graph(cora: Path) -> None:
    details = run_details(cora)
    result = RunFolder(cora).result()
    assert result is not None
    counts = np.array(details.confusion["counts"])
    assert (details.split, details.rows, counts.sum()) == ("test", 1000, 1000)
    assert np.trace(counts) / counts.sum() == pytest.approx(result["test"])
    saved = load_run(cora)
    nodes = saved.dataset.split.test
    logits = saved.logits()[nodes]
    assert (counts == confusion_matrix(saved.dataset.y[nodes], logits.argmax(1), labels=range(7))).all()
    stated, truth = logits.double().softmax(1).max(1).values.numpy(), (logits.argmax(1) == saved.dataset.y[nodes]).numpy()
    true, mean = calibration_curve(truth, stated, n_bins=BINS)
    bins = np.array(details.calibration["before"])
    assert np.allclose(bins[:, :2], np.stack([mean, true], 1))
    error = (bins[:, 2] * np.abs(bins[:, 0] - bins[:, 1])).sum() / 1000
    assert error == pytest.approx(details.calibration["error_before"])


def test_they_are_kept_with_the_weights(cora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    shutil.copytree(cora, run)
    weights = (run / "best.safetensors").read_bytes()
    details = run_details(run)
    assert (run / "best.safetensors").read_bytes() == weights
    with monkeypatch.context() as patch:
        patch.setattr(module, "load_run", lambda *_: pytest.fail("computed again"))
        assert run_details(run) == details == saved_details(run)
    shutil.copyfile(run / "last.safetensors", run / "best.safetensors")  # other weights
    assert saved_details(run) is None
    (run / "details.json").write_text("[]")
    assert saved_details(run) is None


def test_labels_one_by_one(study: Path) -> None:
    details = run_details(study / "reversible-4-0")
    saved = load_run(study / "reversible-4-0")
    nodes = saved.dataset.split.test
    logits, y = saved.logits()[nodes], saved.dataset.y[nodes]
    for column, task in enumerate(details.tasks["each"]):
        known = ~y[:, column].isnan()
        assert task["rocauc"] == pytest.approx(roc_auc_score(y[known, column], logits[known, column]))
        assert (task["rows"], task["positive"]) == (int(known.sum()), int((y[:, column] == 1).sum()))
    assert details.confusion is details.targets is None
    mean = np.mean([task["rocauc"] for task in details.tasks["each"]])
    assert mean == pytest.approx(json.loads((study / "reversible-4-0" / "result.json").read_text())["test"])


def test_many_classes_are_shown_together() -> None:
    rng = torch.Generator().manual_seed(0)
    classes = 3 * MOST_CLASSES
    dataset = _dataset("multiclass", classes)
    logits = torch.randn(dataset.num_nodes, classes, generator=rng)
    logits[torch.arange(len(logits)), dataset.y] += 4
    confusion = scored_details(dataset, logits).confusion
    nodes = dataset.split.test
    assert len(confusion["names"]) == MOST_CLASSES == len(confusion["counts"])
    assert sum(map(sum, confusion["counts"])) == len(nodes)
    truth, predicted = dataset.y[nodes], logits[nodes].argmax(1)
    for name, row in zip(confusion["names"][:-1], confusion["counts"], strict=False):
        assert sum(row) == int((truth == int(name)).sum())
    kept = torch.tensor([int(name) for name in confusion["names"][:-1]])
    others = ~torch.isin(truth, kept) & ~torch.isin(predicted, kept)
    assert confusion["counts"][-1][-1] == int(others.sum())


def test_predictions_against_targets() -> None:
    dataset = _dataset("regression", 2)
    y = dataset.y.clone()
    y[::3, 1] = torch.nan
    dataset = replace(dataset, y=y)
    logits = y.nan_to_num() + 0.3 * torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    details = scored_details(dataset, logits)
    predicted = dataset.objective.values(logits.double())  # in the units of the labels
    assert details.calibration is details.confusion is details.tasks is None
    for column, target in enumerate(details.targets):
        nodes = dataset.split.test[~y[dataset.split.test, column].isnan()]
        assert target["truth"] == y[nodes, column].double().tolist()
        assert target["predicted"] == predicted[nodes, column].tolist()
        assert target["r2"] == pytest.approx(r2_score(y[nodes, column], predicted[nodes, column]), rel=1e-5)


def _dataset(task: str, outputs: int):
    base = generate(num_nodes=600, degree=4.0, tasks=2)
    rng = torch.Generator().manual_seed(2)
    y: Tensor
    if task == "multiclass":
        y = torch.multinomial(torch.linspace(1, 4, outputs), base.num_nodes, replacement=True, generator=rng)
    else:
        y = torch.randn(base.num_nodes, outputs, generator=rng)
    return replace(
        base, y=y, task=task, num_outputs=outputs, metric={"multiclass": "accuracy", "regression": "mae"}[task], task_names=None
    )


# --- by depth -----------------------------------------------------------------------------------------------------------


def _profile_by_hand(saved: SavedRun) -> tuple[list[float], list[float]]:
    """The states after each layer, from stacks that end there."""
    stack = next(m for m in saved.session.model.modules() if isinstance(m, Stack))
    layers = list(stack.layers)
    outputs: list[Tensor] = []
    hook = stack.register_forward_hook(lambda _, args, out: outputs.extend([args[0], out]))
    states = []
    for depth in range(1, len(layers) + 1):
        stack.layers = torch.nn.ModuleList(layers[:depth])
        outputs.clear()
        saved.logits()
        states.append(outputs[1])
    stack.layers = torch.nn.ModuleList(layers)
    hook.remove()
    before = [outputs[0], *states[:-1]]
    return [_rms(s) for s in states], [_rms(s - b) for s, b in zip(states, before, strict=True)]


def _rms(x: Tensor) -> float:
    return float(x.double().square().mean().sqrt())


def test_states_by_depth_are_those_of_shorter_stacks(cora: Path) -> None:
    saved = load_run(cora)
    profile, logits = activation_profile(saved)
    assert profile is not None
    assert torch.equal(logits, saved.logits())
    states, updates = _profile_by_hand(saved)
    assert profile.state == pytest.approx(states, rel=1e-6)
    assert profile.update == pytest.approx(updates, rel=1e-4)  # the input is rounded to the grid of the state


def test_gradients_by_depth_are_those_of_every_strategy(study: Path) -> None:
    """The same weights, once reversed and once stored: reversible gradients are exact. No layer is left out of the profile."""
    found = {}
    for gradient in ("reversible", "backprop", "skipped"):
        saved = load_run(study / "reversible-4-0")
        stack = next(m for m in saved.session.model.modules() if isinstance(m, Stack))
        if gradient == "backprop":
            from revgnn.stack import Backprop

            stack.gradient = Backprop()
        if gradient == "skipped":
            model = saved.session.model
            model.config = model.config.model_copy(update={"stochastic_depth": 0.9})
        profile, _ = activation_profile(saved)
        assert profile is not None
        before = [p.clone() for p in saved.session.model.parameters()]
        found[gradient] = gradient_profile(saved, profile)
        assert all(torch.equal(a, b) for a, b in zip(before, saved.session.model.parameters(), strict=True))
    assert found["reversible"] == found["backprop"] == found["skipped"]
    assert found["reversible"].gradient is not None
    assert len(found["reversible"].gradient) == 4
    assert min(found["reversible"].gradient) > 0


def test_an_equilibrium_has_a_solve_and_no_layers(equilibrium: Path) -> None:
    details = run_details(equilibrium)
    assert details.profile is None
    assert details.solve is not None
    assert len(details.solve["residuals"]) > 1
    saved = load_run(equilibrium)
    nodes = saved.dataset.split.test
    error = calibration_error(saved.dataset.objective, saved.logits()[nodes].double(), saved.dataset.y[nodes])
    assert details.calibration["error_before"] == pytest.approx(error)
