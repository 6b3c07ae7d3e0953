"""`--parallel graph`: a run on a graph that is cut over processes is that of one process, and goes on with any number of them."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from revgnn.cli.app import app
from revgnn.distributed import ModeOptions, make_spread
from revgnn.distributed.by_graph import ByGraph
from revgnn.models import ModelConfig
from revgnn.train import ConfigError, Interrupted, LoadOptions, RunFolder, evaluate_run, predict_run, train
from revgnn.train.run.session import prepare
from revgnn.train.run.team import Team
from revgnn.train.run.tensor_file import read_tensors
from tests.distributed.graph_runs import FIRST, RUNS, SOLVED, TEACHER, run_of
from tests.distributed.launch import launch, succeed
from tests.distributed.test_data_parallel import assert_same_result
from tests.distributed.test_torchrun import command, succeeds, torchrun

SCENARIOS = "tests.distributed.graph_runs"


def assert_near(one: Path, other: Path) -> None:
    """Assert equal random numbers and progress, and losses and scores that differ by roundings."""
    (found, _), (wanted, _) = (read_tensors(folder / "last.safetensors") for folder in (one, other))
    assert {k: (t.shape, t.dtype) for k, t in found.items()} == {k: (t.shape, t.dtype) for k, t in wanted.items()}
    assert torch.equal(found["rng.cpu"], wanted["rng.cpu"])
    lines, expected = RunFolder(one).metrics(), RunFolder(other).metrics()
    assert len(lines) == len(expected) > 0
    for a, b in zip(lines, expected, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=2e-4), (a, b)
        for name in ("train", "valid", "test"):
            assert a[name] == pytest.approx(b[name], abs=0.02), (a, b)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what two processes have trained."""
    folder = tmp_path_factory.mktemp("two")
    succeed(2, "runs", folder, SCENARIOS)
    return folder


@pytest.fixture(scope="module")
def ones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of what one process has trained."""
    folder = tmp_path_factory.mktemp("ones")
    for name in FIRST:
        train(run_of(name), folder / name)
    return folder


@pytest.mark.parametrize("name", FIRST)
def test_two_processes_train_the_run_of_one(two: Path, ones: Path, name: str) -> None:
    assert_near(two / name, ones / name)
    assert not list((two / name).glob("*.tmp*"))
    assert not (two / name / "run.lock").exists()


@pytest.mark.parametrize("name", FIRST)
def test_one_process_evaluates_the_weights_to_the_same_scores(two: Path, name: str) -> None:
    """Bit for bit: each row of logits is summed in the order of one process, in evaluation with batch norm too."""
    scores, best = evaluate_run(two / name), RunFolder(two / name).best_scores()
    assert {key: scores[key] for key in ("train", "valid", "test")} == {key: best[key] for key in ("train", "valid", "test")}


def test_a_run_that_was_stopped_goes_on_bit_for_bit(two: Path) -> None:
    assert_same_result(two / "stopped", two / "labels")


def test_one_process_goes_on_with_a_run_of_two(two: Path, ones: Path) -> None:
    train(run_of("labels"), two / "moved", resume=True)
    assert_near(two / "moved", ones / "labels")


@pytest.mark.parametrize("name", FIRST)
def test_a_run_on_a_cut_graph_goes_on_by_parts(two: Path, name: str) -> None:
    """Bit for bit as one process goes on with it: the whole graph is one part, which one of the processes takes."""
    where = two / f"{name}, graph then parts"
    train(run_of(name), two / f"{where.name}, alone", resume=True)
    assert_same_result(where, two / f"{where.name}, alone")


@pytest.mark.parametrize("name", FIRST)
def test_a_run_by_parts_goes_on_on_a_cut_graph(two: Path, tmp_path: Path, name: str) -> None:
    where = two / f"{name}, parts then graph"
    train(run_of(name), tmp_path / "one")
    train(run_of(name), two / f"{where.name}, alone", resume=True)
    assert_same_result(two / f"{where.name}, alone", tmp_path / "one")
    assert_near(where, tmp_path / "one")


def test_a_process_may_have_neither_edges_nor_labels(two: Path, tmp_path: Path) -> None:
    assert len(RunFolder(two / "lonely").metrics()) == 3


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_all_families_and_awkward_graphs(tmp_path: Path, size: int) -> None:
    train(run_of("tied"), tmp_path / TEACHER)
    asked: list[int] = []
    with pytest.raises(Interrupted):
        train(run_of("labels"), tmp_path / "begun", should_stop=lambda: asked.append(1) or len(asked) == 1)
    if size == 3:
        succeed(3, "runs", tmp_path, SCENARIOS)
    succeed(size, "more", tmp_path, SCENARIOS)
    for name in RUNS:
        if name not in SOLVED and (size == 3 or name not in FIRST):
            train(run_of(name, tmp_path), tmp_path / "one" / name)
            assert_near(tmp_path / name, tmp_path / "one" / name)
    train(run_of("labels"), tmp_path / "one" / "begun")
    assert_near(tmp_path / "begun", tmp_path / "one" / "begun")


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_processes_solve_together(tmp_path: Path, size: int) -> None:
    """The steps are compared in the processes. Longer runs are not: solves that have not converged enlarge roundings."""
    succeed(size, "solves", tmp_path, SCENARIOS)
    for name in SOLVED:
        assert [line["epoch"] for line in RunFolder(tmp_path / name).metrics()] == [1, 2, 3]


@pytest.mark.slow
def test_a_process_that_dies_is_named_and_the_run_goes_on(tmp_path: Path) -> None:
    outcomes = launch(3, "killed", tmp_path, module=SCENARIOS)
    assert [outcome.code for outcome in outcomes] == [7, 7, -signal.SIGKILL], outcomes[0].stderr[-3000:]
    train(run_of("labels"), tmp_path / "run", resume=True)
    train(run_of("labels"), tmp_path / "one")
    assert_near(tmp_path / "run", tmp_path / "one")


CUT = ("--parallel=graph", "--cut=random")


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that two processes have begun on a cut graph, one has gone on with, and three have ended."""
    folder = tmp_path_factory.mktemp("moved") / "run"
    whole = ["--set=parts=1", "--set=evaluation.parts=1"]
    out = succeeds([*torchrun(2), *command(folder, *whole, *CUT, epochs=2)])
    assert out.count("best valid") == 1
    assert "parts_per_step" not in out
    resume = ["-m", "revgnn", "train", "--resume", "--out", str(folder), "-q"]
    succeeds([sys.executable, *resume, "--epochs=3"])
    succeeds([*torchrun(3), *resume, "--epochs=4", *CUT])
    return folder


@pytest.mark.slow
def test_the_command_trains_on_a_cut_graph(moved: Path, tmp_path: Path) -> None:
    train(RunFolder(moved).config(), tmp_path / "one")
    assert_near(moved, tmp_path / "one")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "words", "options"),
    [(2, ["--views=2", "--parts=3"], LoadOptions(views=2, parts=3)), (3, CUT, LoadOptions())],
    ids=["by parts", "cut"],
)
def test_processes_evaluate_and_predict_as_one(
    moved: Path, tmp_path: Path, size: int, words: list[str], options: LoadOptions
) -> None:
    found = json.loads(succeeds([*torchrun(size), "-m", "revgnn", "evaluate", str(moved), "--json", *words]))
    assert found == evaluate_run(moved, options)
    many, one = tmp_path / "many.csv", tmp_path / "one.csv"
    succeeds([*torchrun(size), "-m", "revgnn", "predict", str(moved), "--out", str(many), *words])
    predict_run(moved, one, options)
    assert many.read_bytes() == one.read_bytes()


def test_one_process_is_told_how_to_become_many(tmp_path: Path) -> None:
    found = CliRunner().invoke(app, ["train", "synthetic", "--parallel", "graph", "--out", str(tmp_path / "run")])
    assert found.exit_code != 0
    assert "start them by torchrun --nproc-per-node 2" in " ".join(found.output.split())
    with pytest.raises(ValueError, match=r"--parallel must be one of parts, graph.*got 'edges'"):
        make_spread("edges")
    with pytest.raises(ValueError, match="--cut must be one of contiguous, random, metis; got 'spectral'"):
        make_spread("graph", ModeOptions("spectral"))


class Pair(Team):
    """A team of two, as far as checks see it."""

    size = 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"parts": 2}, "trains on the whole graph, got parts=2; set parts=1"),
        ({"evaluation.parts": 3}, "got evaluation.parts=3; set evaluation.parts=1"),
        ({"model.shared_dropout": False}, "GENBlock draws dropout of its own"),
        ({"model": {"family": "equilibrium", "channels": 8, "solver": {"warm_start": True}}}, "warm_start keeps solutions"),
        (
            {"model": {"family": "revgat", "channels": 12, "depth": 4, "convolution": {"edge_dropout": 0.3}}},
            "GATConv draws dropout",
        ),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value[:20],
)
def test_what_cannot_be_cut_is_refused(changes: dict[str, object], message: str) -> None:
    if "model" in changes:
        changes = {**changes, "model": ModelConfig.model_validate(changes["model"])}
    with pytest.raises(ConfigError, match=message):
        ByGraph().check(prepare(run_of("labels", **changes)), Pair())
