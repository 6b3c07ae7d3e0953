"""Loggers: what they are told, that they go on after a kill, and that none of them can end a training."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from revgnn.cli.app import app
from revgnn.train import RunConfig, RunFolder, train
from revgnn.train.loggers import Backend, Logger, make_logger, tensorboard, wandb
from revgnn.train.run.events import EpochEnded, Event, Started
from revgnn.train.sweeps import sweep

GRAPH = "synthetic:nodes=240,degree=8,tasks=3"


@pytest.fixture
def config() -> RunConfig:
    settings = {"model.depth": 2, "model.channels": 8, "device": "cpu", "epochs": 4, "evaluation.every": 1}
    return RunConfig().with_data(GRAPH).replace({**settings, "save_every": 2, "optim.schedule": "constant"})


class Killed(BaseException):
    """Stands for what no handler catches."""


def kill_after(epoch: int) -> Any:
    """A hook, the last one, that ends the process after an epoch is logged."""

    def hook(event: Event) -> None:
        if isinstance(event, EpochEnded) and event.epoch == epoch:
            raise Killed

    return hook


class Memory(Backend):
    """A backend that keeps all that it is told."""

    name = "memory"

    def __init__(self, fail_at: str = "") -> None:
        self.told: list[tuple[str, Any]] = []
        self.fail_at = fail_at

    def _take(self, what: str, value: Any) -> None:
        self.told.append((what, value))
        if what == self.fail_at:
            raise ConnectionError(f"{what} failed")

    def begin(self, event: Started, settings: Mapping[str, bool | int | float | str]) -> None:
        self._take("begin", (event.epoch, dict(settings)))

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        self._take("log", (epoch, dict(values)))

    def finish(self, values: Mapping[str, float]) -> None:
        self._take("finish", dict(values))

    def close(self) -> None:
        self._take("close", None)


# --- what is logged -----------------------------------------------------------------------------------------------------


def test_settings_metrics_and_result(config: RunConfig, tmp_path: Path) -> None:
    memory = Memory()
    result = train(config, tmp_path / "a", hooks=[Logger(memory)])
    lines = RunFolder(tmp_path / "a").metrics()
    assert [what for what, _ in memory.told] == ["begin", "log", "log", "log", "log", "finish", "close"]
    epoch, settings = memory.told[0][1]
    assert epoch == 0
    assert (settings["model.depth"], settings["optim.lr"], settings["seed"]) == (2, config.optim.lr, 0)
    assert (settings["parameters"], settings["metric"], settings["patience"]) == (result.parameters, "rocauc", "null")
    assert all(isinstance(value, bool | int | float | str) for value in settings.values())
    best = 0.0
    for line, (_, (epoch, values)) in zip(lines, memory.told[1:5], strict=True):
        best = max(best, line["valid"])
        assert epoch == line["epoch"]
        assert [values[f"{part}/rocauc"] for part in ("train", "valid", "test")] == [line[p] for p in ("train", "valid", "test")]
        assert (values["loss"], values["best/rocauc"]) == (line["loss"], best)
        assert values["memory/peak_bytes"] == line["peak_bytes"]
    assert memory.told[5][1] == pytest.approx(
        {
            **{f"best/{part}": getattr(result, part) for part in ("train", "valid", "test")},
            "best/epoch": result.best_epoch,
            "seconds/epoch": result.seconds_per_epoch,
            "memory/peak_bytes": result.peak_bytes,
        }
    )


def test_epochs_without_evaluation_have_no_scores(config: RunConfig, tmp_path: Path) -> None:
    memory = Memory()
    train(config.replace({"evaluation.every": 3}), tmp_path / "a", hooks=[Logger(memory)])
    assert ["valid/rocauc" in value[1] for what, value in memory.told if what == "log"] == [False, False, True, True]
    assert ["best/rocauc" in value[1] for what, value in memory.told if what == "log"] == [False, False, True, True]


def test_each_run_of_a_sweep_has_its_own_log(config: RunConfig, tmp_path: Path) -> None:
    memory = Memory()
    sweep(config.replace({"epochs": 1}), tmp_path, splits=[0], seeds=[0, 1], hooks=[Logger(memory)])
    assert [what for what, _ in memory.told] == ["begin", "log", "finish", "close"] * 2


def test_a_run_that_is_stopped_is_closed(config: RunConfig, tmp_path: Path) -> None:
    memory = Memory()
    with pytest.raises(Killed), Logger(memory) as logger:
        train(config, tmp_path / "a", hooks=[logger, kill_after(2)])
    assert [what for what, _ in memory.told] == ["begin", "log", "log", "close"]
    train(config, tmp_path / "a", resume=True, hooks=[Logger(memory)])
    assert [what for what, _ in memory.told[4:]] == ["begin", "log", "log", "finish", "close"]
    assert [value[0] for _, value in memory.told[4:7]] == [2, 3, 4]


@pytest.mark.parametrize("fail_at", ["begin", "log", "finish", "close"])
def test_a_logger_that_fails_never_ends_a_training(config: RunConfig, tmp_path: Path, fail_at: str) -> None:
    memory = Memory(fail_at)
    with pytest.warns(UserWarning, match=rf"nothing more is logged to memory \(ConnectionError: {fail_at} failed\)") as caught:
        result = train(config, tmp_path / "a", hooks=[Logger(memory)])
    assert len(caught) == 1
    assert [what for what, _ in memory.told].count(fail_at) == 1
    plain = train(config, tmp_path / "b")
    assert (result.valid, result.test, result.best_epoch) == (plain.valid, plain.test, plain.best_epoch)


# --- extras -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "module"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb")])
def test_a_missing_extra_is_named_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install 'revgnn\[{name}\]'"):
        make_logger(name)
    result = CliRunner().invoke(app, ["train", GRAPH, "--log", name, "--out", str(tmp_path / "a")])
    assert result.exit_code == 2
    assert result.stderr.endswith(f"install it: pip install 'revgnn[{name}]'.\n")
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "a").exists()


def test_an_unknown_logger(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["train", GRAPH, "--log", "mlflow", "--out", str(tmp_path / "a")])
    assert (result.exit_code, result.stderr) == (2, "error: runs can be logged to tensorboard and wandb, got 'mlflow'.\n")


# --- TensorBoard --------------------------------------------------------------------------------------------------------


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Read event files back, as TensorBoard does."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard")
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_event_files_are_read_back(config: RunConfig, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    folder = tmp_path / "a"
    result = train(config, folder, hooks=[tensorboard()])
    found = scalars(folder / "tensorboard")
    for part in ("train", "valid", "test"):
        assert found[f"{part}/rocauc"] == [(line["epoch"], pytest.approx(line[part])) for line in RunFolder(folder).metrics()]
    assert found["best/valid"][-1][1] == pytest.approx(result.valid)
    (tmp_path / "own").mkdir()
    train(config.replace({"epochs": 1}), tmp_path / "b", hooks=[tensorboard(tmp_path / "own")])
    assert [step for step, _ in scalars(tmp_path / "own")["loss"]] == [1]
    assert not (tmp_path / "b" / "tensorboard").exists()


def test_event_files_go_on_after_a_kill_and_begin_anew_with_a_new_run(config: RunConfig, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    folder = tmp_path / "a"
    with pytest.raises(Killed), tensorboard() as logger:
        train(config, folder, hooks=[logger, kill_after(3)])  # the state is saved after epoch 2
    assert [step for step, _ in scalars(folder / "tensorboard")["loss"]] == [1, 2, 3]
    train(config, folder, resume=True, hooks=[tensorboard()])
    lines = RunFolder(folder).metrics()
    assert scalars(folder / "tensorboard")["loss"] == [(line["epoch"], pytest.approx(line["loss"])) for line in lines]
    train(config.replace({"epochs": 2}), folder, overwrite=True, hooks=[tensorboard()])
    assert [step for step, _ in scalars(folder / "tensorboard")["loss"]] == [1, 2]


# --- Weights & Biases ---------------------------------------------------------------------------------------------------


class FakeWandB(SimpleNamespace):
    """What the logger uses of wandb, without a network."""

    def __init__(self) -> None:
        super().__init__(runs=[], known=True)

    def login(self, *, prompt: bool) -> bool:
        assert not prompt
        return self.known

    def init(self, **settings: Any) -> Any:
        run = SimpleNamespace(settings=settings, logged=[], summary={}, finished=False)
        run.log = lambda values, step: run.logged.append((step, values))
        run.finish = lambda: setattr(run, "finished", True)
        self.runs.append(run)
        return run


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeWandB:
    module = FakeWandB()
    monkeypatch.setitem(sys.modules, "wandb", module)  # type: ignore[arg-type]
    for name in ("WANDB_PROJECT", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    return module


def test_a_run_of_weights_and_biases_goes_on_under_its_id(config: RunConfig, tmp_path: Path, fake: FakeWandB) -> None:
    folder = tmp_path / "a"
    with pytest.raises(Killed), wandb(mode="offline", tags=["x"]) as logger:
        train(config, folder, hooks=[logger, kill_after(3)])
    result = train(config, folder, resume=True, hooks=[wandb("mine", mode="offline")])
    first, second = fake.runs
    assert (first.finished, second.finished) == (True, True)
    assert first.settings["id"] == second.settings["id"] == json.loads((folder / "wandb.json").read_text())["id"]
    assert (first.settings["project"], second.settings["project"]) == ("revgnn", "mine")
    assert (first.settings["mode"], first.settings["tags"], second.settings["resume"]) == ("offline", ["x"], "allow")
    assert first.settings["config"]["model.depth"] == 2
    assert [step for step, _ in first.logged] == [1, 2, 3]
    assert [step for step, _ in second.logged] == [3, 4]
    assert second.summary["best/valid"] == result.valid
    (folder / "wandb.json").write_text("{")
    train(config.replace({"epochs": 5}), folder, resume=True, hooks=[wandb()])
    train(config, folder, overwrite=True, hooks=[wandb()])
    assert len({run.settings["id"] for run in fake.runs}) == 3


def test_nobody_is_asked_for_a_key(config: RunConfig, tmp_path: Path, fake: FakeWandB, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.known = False
    with pytest.warns(UserWarning, match=r"run `wandb login` first, or set WANDB_MODE=offline\). The training goes on"):
        train(config, tmp_path / "a", hooks=[wandb()])
    assert fake.runs == []
    monkeypatch.setenv("WANDB_MODE", "offline")
    train(config, tmp_path / "b", hooks=[wandb()])
    assert len(fake.runs) == 1


def test_weights_and_biases_from_the_command_line(tmp_path: Path, fake: FakeWandB) -> None:
    small = ["--preset", "revgnn-7", "--set", "model.depth=2", "--set", "model.channels=8", "--device", "cpu", "--epochs", "1"]
    words = ["train", GRAPH, *small, "--out", str(tmp_path / "a"), "--log", "wandb", "-q"]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert [(len(run.logged), run.finished) for run in fake.runs] == [(1, True)]


@pytest.mark.slow
def test_the_real_library_offline(config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="needs wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    train(config, tmp_path / "a", hooks=[wandb()])
    assert list((tmp_path / "a" / "wandb").glob("offline-run-*/*.wandb"))
