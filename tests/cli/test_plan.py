"""`revgnn plan`, `revgnn train --fit`, and what is printed when a run is out of memory."""

from __future__ import annotations

import functools
import inspect
import json
from pathlib import Path

import pytest
import torch

from revgnn.cli import fit as fit_module
from revgnn.cli import plan as plan_module
from revgnn.cli import train as train_module
from revgnn.cli.progress import progress
from revgnn.cli.text import parse_bytes
from revgnn.experiments.compose import compose
from revgnn.experiments.planner.plan import Limits, Planner
from revgnn.experiments.planner.size import DataSize
from revgnn.train.config import DataConfig
from revgnn.train.datasets import load_dataset
from revgnn.train.run.folder import RunFolder
from tests.cli.test_commands import refuse, revgnn, succeed

GRAPH = "synthetic:nodes=400,degree=8,tasks=3"
NETWORK = ["model.depth=2", "model.channels=8", "model.conv=gcn"]
SMALL = ["--preset", "revgnn-7", "--device", "cpu", *(word for setting in NETWORK for word in ("--set", setting))]


STORED = [*SMALL, "--set", "model.gradient=backprop", "--set", "model.depth=12"]
"""A network that stores every layer."""


@functools.cache
def limit_of_stored() -> float:
    """Return a limit of memory into which `STORED` fits only with another strategy."""
    planner = Planner(DataSize.of(load_dataset(DataConfig(name=GRAPH))), torch.device("cpu"))
    run = compose(GRAPH, preset="revgnn-7", settings=[*NETWORK, "model.depth=12", "device=cpu"])
    needed = [planner.plan(run.replace({"model.gradient": name})).needed_bytes for name in ("reversible", "backprop")]
    assert needed[1] > 1.2 * needed[0]
    return sum(needed) / 2


def test_a_plan_without_a_probe_has_memory_alone() -> None:
    text = succeed("plan", GRAPH, *SMALL, "--no-probe")
    assert "400 nodes" in text
    assert "reversible, 2 layers of 8 channels, gcn" in text
    for part in ("weights", "moments of the optimiser", "the graph of a batch", "activations", "buffers inside kernels"):
        assert part in text
    assert text.count("backprop") == 1  # a row of the strategies
    assert "a step" not in text.replace("a training step", "")


def test_a_plan_with_a_probe_has_seconds() -> None:
    found = json.loads(succeed("plan", GRAPH, *SMALL, "--epochs", 20, "--json"))
    seconds = found["plan"]["seconds"]
    assert 0 < seconds["step"] <= seconds["epoch"]
    assert seconds["total"] == pytest.approx(20 * (seconds["epoch"] + seconds["evaluation"]))
    assert found["strategies"]["backprop"]["seconds"]["step"] <= seconds["step"]


def test_the_answers_to_inverse_questions() -> None:
    limited = [GRAPH, *SMALL, "--memory", "1MB", "--no-probe"]
    found = json.loads(succeed("plan", *limited, "--json"))
    deepest = found["inverse"]["deepest"]
    assert deepest["depth"] > 2
    assert deepest["needed_bytes"] <= 1e6
    assert found["inverse"]["widest"]["channels"] > 8
    assert found["inverse"]["fewest_parts"]["parts"] == 1


def test_the_answers_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    text = succeed("plan", GRAPH, *SMALL, "--memory", "1MB", "--no-probe", "--set", "model.tied=true")
    row = next(row for row in text.splitlines() if row.startswith("deepest"))
    assert int(row.split()[1].replace(",", "")) > 2
    assert "which fits into 1.0 MB" in text


@pytest.mark.slow
def test_rows_of_the_paper_without_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = succeed("plan", "--preset", "revgnn-wide", "--no-probe", "--device", "cpu")
    assert "68,471,608" in text
    assert "448 layers of 224 channels" in text
    assert not list(tmp_path.iterdir())


def test_train_can_be_replaced_by_plan(tmp_path: Path) -> None:
    """Every option of `train` is one of `plan`, and those about the folder have no effect."""
    of_train = inspect.signature(train_module.train).parameters
    of_plan = inspect.signature(plan_module.plan).parameters
    assert set(of_train) < set(of_plan)
    assert {name: p.default for name, p in of_plan.items() if name in of_train} == {n: p.default for n, p in of_train.items()}
    words = ["--epochs", 3, "--out", tmp_path / "a", "--overwrite", "--seeds", "0,1", "--quiet"]
    assert "parameters" in succeed("plan", GRAPH, *SMALL, *words, "--no-probe")
    assert not (tmp_path / "a").exists()


def test_several_processes() -> None:
    words = [GRAPH, *SMALL, "--no-probe", "--ranks", 2, "--link", "1GB/s", "--latency", "5us", "--memory", "1MB"]
    found = json.loads(succeed("plan", *words, "--json"))["many_processes"]
    assert found["link"] == pytest.approx({"bytes_per_second": 1e9, "latency_seconds": 5e-6})
    assert list(found["spread"]) == ["parts", "graph", "layers", "weights"]
    for plan in found["spread"].values():
        assert plan["ranks"] == 2
        assert plan["sent_bytes"] > 0
        assert plan["seconds"] is None  # no probe
    assert found["fewest_ranks"]["graph"]["needed_bytes"] <= 1e6


@pytest.mark.slow
def test_several_processes_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = succeed("plan", GRAPH, *SMALL, "--ranks", 2, "--link", "1GB/s")
    assert "2 processes over 1.0 GB/s" in text
    (row,) = [line for line in text.splitlines() if line.startswith("graph")]
    assert row.count(" ms") + row.count(" s ") >= 4
    assert "--ranks" in refuse("plan", GRAPH, *SMALL, "--no-probe", "--link", "1GB/s")
    assert "300GB/s" in refuse("plan", GRAPH, *SMALL, "--no-probe", "--ranks", 2, "--link", "fast")
    assert "--link" in refuse("plan", GRAPH, *SMALL, "--no-probe", "--ranks", 2, "--latency", "5us")


def test_mistakes() -> None:
    assert "--no-probe" in refuse("plan", GRAPH, *SMALL, "--hours", 2, "--no-probe")
    assert "11GB" in refuse("plan", GRAPH, *SMALL, "--memory", "much", "--no-probe")
    assert "unknown preset" in refuse("plan", GRAPH, "--preset", "revgnn-8")
    assert "use fewer channels" in refuse("train", GRAPH, *SMALL, "--fit", "--memory", "1kB")


def test_train_fit_changes_the_run_and_says_so(tmp_path: Path) -> None:
    limit = f"{limit_of_stored():.0f}"
    text = succeed("train", GRAPH, *STORED, "--epochs", 1, "--fit", "--memory", limit, "--out", tmp_path / "a")
    assert "model.gradient=reversible instead of backprop" in text
    assert RunFolder(tmp_path / "a").config().model.effective_gradient == "reversible"


def test_fit_leaves_a_run_that_fits(capsys: pytest.CaptureFixture[str]) -> None:
    run = compose(GRAPH, preset="revgnn-7", settings=[*NETWORK, "device=cpu"])
    with progress(quiet=False) as show:
        assert fit_module.fitted(run, "1GB", show) == run
    assert "nothing had to be changed" in capsys.readouterr().out


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        pytest.param(MemoryError("no memory"), marks=pytest.mark.slow),
        pytest.param(RuntimeError("DefaultCPUAllocator: can't allocate memory"), marks=pytest.mark.slow),
    ],
    ids=lambda error: type(error).__name__,
)
def test_out_of_memory_prints_the_plan_that_would_fit(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    limit = limit_of_stored()

    monkeypatch.setattr("revgnn.train.train", fail)
    monkeypatch.setattr("revgnn.experiments.planner.for_run.free_memory", lambda device: Limits(memory_bytes=limit))
    result = revgnn("train", GRAPH, *STORED, "--out", tmp_path / "a")
    assert result.exit_code == 2
    assert "the run needs" in result.stderr
    assert "it would fit with --set model.gradient=reversible (" in result.stderr
    assert "error: out of memory" in result.stderr


def test_other_errors_print_no_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("revgnn.train.train", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("a bug")))
    monkeypatch.setattr(fit_module, "_advice", lambda run: pytest.fail("a plan was made"))
    with pytest.raises(RuntimeError, match="a bug"):
        raise revgnn("train", GRAPH, *SMALL, "--out", tmp_path / "a").exception or AssertionError


@pytest.mark.parametrize(
    ("text", "expected"),
    [("11GB", 11e9), ("500 MB", 5e8), ("2.5gib", 2.5 * 2**30), ("100", 100.0), ("1k", 1000.0), ("64KiB", 65536.0), (".5T", 5e11)],
)
def test_sizes_are_read(text: str, expected: float) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0", "1.2.3MB", "5 XB", "1e9"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="such as 11GB"):
        parse_bytes(text)
