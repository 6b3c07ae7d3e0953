"""`revgnn depth`: choices that no test label touches, runs that are those of `train`, and studies that go on where they ended."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from revgnn.cli.app import app
from revgnn.data import NodeDataset, load
from revgnn.experiments.depth import study as studies
from revgnn.experiments.depth.choosing import without_test
from revgnn.experiments.depth.plan import Cell, cell_run, on
from revgnn.experiments.depth.record import CHOOSE, LOCKS, NAME
from revgnn.experiments.depth.study import study
from revgnn.models.config import EquilibriumConfig, SolverConfig
from revgnn.train import train
from revgnn.train.config.errors import ConfigError
from revgnn.train.datasets import read_dataset
from revgnn.train.inference.evaluate import evaluate_run
from revgnn.train.run.events import Stepped
from revgnn.train.run.folder import RunFolder, RunFolderError
from revgnn.train.run.lock import owning
from revgnn.train.run.tensor_file import read_tensors
from tests.experiments.depth.small import BASE, GRAPH, PLAN


def comparable(values: dict[str, Any]) -> dict[str, Any]:
    """Return what does not depend on the clock."""
    values = json.loads(json.dumps(values))
    for timed in (values, *values["cells"], *(run for cell in values["cells"] for run in cell["runs"])):
        timed.pop("seconds", None)
        timed.pop("seconds_per_epoch", None)
        timed.pop("peak_bytes", None)
        timed.pop("environment", None)
    return values


def test_a_study(finished: tuple[Path, dict[str, Any]]) -> None:
    out, values = finished
    assert values == json.loads((out / NAME).read_text())
    assert values["finished"]
    assert [(cell["family"], cell["depth"]) for cell in values["cells"]] == [("reversible", 1), ("reversible", 2)]
    for cell in values["cells"]:
        assert [(run["split"], run["seed"]) for run in cell["runs"]] == [(0, 0), (0, 1)]
        best = max(cell["candidates"], key=lambda candidate: candidate["valid"])
        assert cell["chosen"] == {key: best[key] for key in ("optim.lr", "model.dropout")}
        assert cell["test"]["n"] == 2
        assert cell["test"]["low"] < cell["test"]["mean"] < cell["test"]["high"]
    (difference,) = values["families"]["reversible"]["differences"]
    runs = [[run["test"] for run in cell["runs"]] for cell in values["cells"]]
    assert difference["gain"] == pytest.approx(sum(runs[1]) / 2 - sum(runs[0]) / 2)
    assert str(out) not in (out / NAME).read_text()


def test_a_run_of_a_study_is_the_run_that_trains_by_itself(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    out, values = finished
    cell = values["cells"][1]
    run = on(cell_run(BASE, Cell("reversible", 2)).replace(cell["chosen"]), 0, 1)
    train(run, tmp_path / "alone")
    kept, alone = (read_tensors(RunFolder(folder).best_file)[0] for folder in (out / cell["runs"][1]["folder"], tmp_path / "alone"))
    assert all(torch.equal(weight, alone[name]) for name, weight in kept.items())
    scores = evaluate_run(out / "runs" / "reversible-2")  # the runs of a cell are a sweep
    assert [run["test"] for run in scores["runs"]] == [run["test"] for run in cell["runs"]]


# --- test labels ----------------------------------------------------------------------------------------------------------


def garbled(dataset: NodeDataset) -> NodeDataset:
    """Return the data set with other labels of test nodes."""
    y = dataset.y.clone()
    y[dataset.split.test] = y[dataset.split.test].flip(0) * 0
    assert not torch.equal(y, dataset.y)
    return replace(dataset, y=y)


def weights_of_candidates(out: Path) -> dict[str, dict[str, torch.Tensor]]:
    files = sorted((out / CHOOSE).rglob("best.safetensors"))
    return {file.relative_to(out).as_posix(): read_tensors(file)[0] for file in files}


def test_choices_do_not_depend_on_test_labels(
    finished: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With other test labels each candidate has the same scores and the same weights, bit for bit."""
    monkeypatch.setattr(studies, "read_dataset", lambda config: garbled(read_dataset(config)))
    values = study(BASE, replace(PLAN, seeds=(0,)), tmp_path / "a", budget=1e6)
    for cell, before in zip(values["cells"], finished[1]["cells"], strict=True):
        assert cell["candidates"] == before["candidates"]
        assert cell["chosen"] == before["chosen"]
    ours, theirs = weights_of_candidates(tmp_path / "a"), weights_of_candidates(finished[0])
    assert len(ours) == 4
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(weight, theirs[file][name]) for file, weights in ours.items() for name, weight in weights.items())


def test_candidates_have_no_test_nodes(finished: tuple[Path, dict[str, Any]]) -> None:
    lines = [line for folder in (finished[0] / CHOOSE).glob("*/runs/*") for line in RunFolder(folder).metrics()]
    assert len(lines) >= 8
    assert all(line["test"] is None and line["valid"] is not None for line in lines)


@pytest.mark.parametrize("name", ["cora", "minesweeper", "ogbn-humanppi"])
def test_labels_that_are_removed(name: str, real_data: Path) -> None:
    dataset = load(name, real_data)
    hidden = without_test(dataset)
    known = hidden.objective.labelled(hidden.y)
    assert len(hidden.splits) == 1
    assert len(hidden.split.test) == 0
    assert not known[dataset.split.test].any()
    rest = torch.ones(dataset.num_rows, dtype=torch.bool)
    rest[dataset.split.test] = False
    assert torch.equal(hidden.y[rest].nan_to_num(nan=-1), dataset.y[rest].nan_to_num(nan=-1))
    assert torch.equal(dataset.y, load(name, real_data).y) or dataset.y.isnan().any()  # the data set itself is as it was


# --- stopping and going on --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [3, pytest.param(1, marks=pytest.mark.slow), pytest.param(14, marks=pytest.mark.slow)])
def test_a_study_that_is_stopped_goes_on(steps: int, finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    taken: list[object] = []

    def count(event: object) -> None:
        if isinstance(event, Stepped):
            taken.append(event)

    out = tmp_path / "a"
    stopped = study(BASE, PLAN, out, budget=1e6, hooks=[count], should_stop=lambda: len(taken) >= steps)
    assert not stopped["finished"]
    with pytest.raises(RunFolderError, match="already holds a depth study; go on with resume=True"):
        study(BASE, PLAN, out, budget=1e6)
    values = study(BASE, PLAN, out, budget=1e6, resume=True)
    assert comparable(values) == comparable(finished[1])
    assert values["seconds"] >= stopped["seconds"] > 0


def test_a_budget_that_is_spent(tmp_path: Path) -> None:
    values = study(BASE, PLAN, tmp_path / "a", budget=1e-9)
    assert not values["finished"]
    assert values["families"]["reversible"]["verdict"].startswith("Depths cannot be compared yet")
    assert [path.name for path in (tmp_path / "a").iterdir()] == [NAME]


@pytest.mark.slow
def test_more_seeds_and_depths(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    """A study goes on with more of everything; what is there stays as it is."""
    out = tmp_path / "a"
    study(BASE, replace(PLAN, depths=(1,), seeds=(0,)), out, budget=1e6)
    values = study(BASE, PLAN, out, budget=1e6, resume=True)
    assert comparable(values) == comparable(finished[1])


def test_another_process_has_a_task(tmp_path: Path) -> None:
    """What another process is at is left to it; the rest is done meanwhile, and what it leaves at the end."""
    out, plan = tmp_path / "a", replace(PLAN, seeds=(0,), rates=(0.01,))
    study(BASE, plan, out, budget=1e-9)
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 6  # after the three steps of the run that is free

    with owning(out / LOCKS / "reversible-1-0-0"):
        values = study(BASE, plan, out, budget=1e6, resume=True, should_stop=stop)
    assert [len(cell["runs"]) for cell in values["cells"]] == [0, 1]
    values = study(BASE, plan, out, budget=1e6, resume=True)
    assert [len(cell["runs"]) for cell in values["cells"]] == [1, 1]
    assert not (out / LOCKS).exists()


def test_what_cannot_be_trained_ends_no_study(tmp_path: Path) -> None:
    base, plan = BASE.replace({"optim.clip_norm": None}), replace(PLAN, depths=(1, 2), seeds=(0,))
    values = study(base, replace(plan, rates=(1e30, 0.01)), tmp_path / "a", budget=1e6)
    assert values["finished"]
    assert all(cell["chosen"]["optim.lr"] == 0.01 for cell in values["cells"])
    wild = study(base, replace(plan, rates=(1e29, 1e30)), tmp_path / "b", budget=1e6)
    assert wild["finished"]
    assert all("no candidate" in cell["error"] for cell in wild["cells"])
    alone = study(base, replace(plan, rates=(1e30,)), tmp_path / "c", budget=1e6)
    assert alone["finished"]
    assert all("finite" in cell["failed"][0]["error"] for cell in alone["cells"])
    assert study(base, replace(plan, rates=(1e30,)), tmp_path / "c", budget=1e6, resume=True)["finished"]


def test_folders_of_others(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(RunFolderError, match="is not empty"):
        study(BASE, PLAN, tmp_path, budget=1)
    for base, plan, what in (
        (BASE.replace({"model.channels": 16}), PLAN, "model.channels was 8"),
        (BASE.replace({"epochs": 4}), PLAN, "epochs was 3"),
        (BASE, replace(PLAN, rates=(0.5,)), "rates was"),
        (BASE, replace(PLAN, seeds=(3,)), "first split and seed was"),
    ):
        with pytest.raises(RunFolderError, match=what):
            study(base, plan, finished[0], budget=1, resume=True)


@pytest.mark.parametrize("damage", ["", "3", "{}", '{"version": 1}', '{"version": 9}'])
def test_a_damaged_record(damage: str, tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(damage)
    with pytest.raises(RunFolderError, match=r"damaged"):
        study(BASE, PLAN, tmp_path, budget=1, resume=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depths": ()}, "depths of a depth study must be one or more"),
        ({"seeds": (1, 1)}, "each once, got 1, 1"),
        ({"families": ("deep",)}, "got 'deep'"),
    ],
)
def test_plans_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(PLAN, **changes)


def test_runs_that_cannot_be(tmp_path: Path) -> None:
    """They are refused before anything is written."""
    for plan, message in (
        (replace(PLAN, families=("residual",)), "residual of 1 layers: .*depth must be 2 or more"),
        (replace(PLAN, dropouts=(1.5,)), "dropout"),
    ):
        with pytest.raises(ConfigError, match=message):
            study(BASE, plan, tmp_path / "a", budget=1)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("family", ["reversible", "tied", "residual", "tied-residual", "revgat"])
def test_every_family_has_its_depths(family: str) -> None:
    for depth in (3, 8):
        run = cell_run(BASE.replace({"model.edge_features": False}), Cell(family, depth))
        assert run.model.depth == depth
        assert run.model.tied == family.startswith("tied")
        assert run.epochs == BASE.epochs


def test_the_depth_of_an_equilibrium_is_its_evaluations() -> None:
    run = cell_run(BASE.replace({"model.edge_features": False, "model.solver": None}), Cell("equilibrium", 8))
    assert isinstance(run.model, EquilibriumConfig)
    assert run.model.solver is not None
    assert (run.model.solver.forward_steps, run.model.solver.evaluation_steps) == (8, 8)
    assert run.model.solver.backward_steps == SolverConfig().backward_steps


@pytest.mark.slow
def test_a_study_of_equilibria(tmp_path: Path) -> None:
    plan = replace(PLAN, families=("equilibrium",), depths=(4, 8), seeds=(0,))
    values = study(BASE.replace({"model.edge_features": False}), plan, tmp_path / "a", budget=1000)
    assert [(cell["depth"], len(cell["runs"])) for cell in values["cells"]] == [(4, 1), (8, 1)]
    influence = values["cells"][1]["reasons"]["influence"]
    assert influence["rounds"] == 8
    assert sum(influence["by_hop"]) > 0


# --- the command ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def revgnn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def test_the_command(revgnn: Callable[..., Any], tmp_path: Path) -> None:
    small = ("--depths", "2,1", "--set", "model.channels=8", "--set", "optim.lr=0.01", "--dropouts", "0.1", "--epochs", 1)
    words = ("depth", GRAPH, *small, "--seeds", "0,1", "--device", "cpu", "--split", "all")
    result = revgnn(*words)
    assert result.exit_code == 0, result.output
    for word in ("layers", "0.01", "±", "Beyond 1 layer ", "reversible-2, split-0-seed-1", "depth.json"):
        assert word in result.stdout
    (out,) = (tmp_path / "runs").iterdir()
    assert out.name == "synthetic-depth"
    again = revgnn(*words, "--resume", "--json", "-q")
    assert again.exit_code == 0, again.output
    values = json.loads(again.stdout)
    assert values.pop("folder") == "runs/synthetic-depth"
    assert values == json.loads((out / NAME).read_text())
    assert all(cell["candidates"] == [] and cell["chosen"]["optim.lr"] == 0.01 for cell in values["cells"])
    assert revgnn(*words).exit_code == 2
    assert revgnn("depth", GRAPH, "--depths", "3,deep").exit_code == 2
    assert "such as 3,7,14" in revgnn("depth", GRAPH, "--depths", "0").output
