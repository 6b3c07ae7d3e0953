"""The configuration: reading, changing, comparing, and what it says of mistakes."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from revgnn.models.config import ModelConfig, SolverConfig
from revgnn.train.config import DataConfig, DistillationConfig, RunConfig
from revgnn.train.config.errors import ConfigError, dotted_keys

RUN = RunConfig(data=DataConfig(name="cora", self_loops=True), model=ModelConfig(depth=28, channels=64), epochs=7, parts=2)


def test_yaml_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(RUN.to_yaml())
    assert RunConfig.from_yaml(path) == RUN


def test_edge_features_are_stored_as_the_reader_knows_it() -> None:
    config, load = (importlib.import_module(f"revgnn.{name}") for name in ("train.config", "data.load"))
    assert config.EdgeStorage == load.EdgeStorage


def test_every_documented_key_can_be_read_from_the_flat_form() -> None:
    solved_for = ModelConfig(family="equilibrium", solver=SolverConfig())  # the one family with settings of a solver
    flat = RUN.model_copy(update={"model": solved_for, "distillation": DistillationConfig()}).flat()
    parents = {"data", "model", "model.solver", "optim", "evaluation", "distillation"}
    leaves = {key for key in dotted_keys(RunConfig) if key not in parents}
    assert leaves <= flat.keys()
    assert flat["data.self_loops"] is True


@pytest.mark.parametrize(
    ("setting", "read"),
    [
        ("model.depth=112", lambda run: run.model.depth == 112),
        ("optim.lr=3e-3", lambda run: run.optim.lr == 0.003),
        ("optim.clip_norm=null", lambda run: run.optim.clip_norm is None),
        ("model.norm=none", lambda run: run.model.norm == "none"),
        ("data.split=3", lambda run: run.data.split == 3),
        ("data.self_loops=false", lambda run: run.data.self_loops is False),
    ],
)
def test_override(setting: str, read) -> None:
    assert read(RUN.override([setting]))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": {"chanels": 64}}, "unknown key model.chanels; did you mean model.channels"),
        ({"depth": 28}, "unknown key depth; did you mean model.depth"),
        ({"epoch": 3}, "unknown key epoch; did you mean epochs"),
        ({"optim": {"clip": 1}}, "optim.clip_norm"),
        ({"data": {"name": "cora", "zzz": 1}}, "keys here: name, root, split, undirected"),
        ({"data": {}}, "data.name is missing"),
        ({"epochs": 0}, "epochs: input should be greater than or equal to 1, got 0"),
        ({"amp": "int8"}, "amp: input should be 'none', 'bf16' or 'fp16', got 'int8'"),
        ({"model": {"channels": 63, "groups": 2}}, "model: channels must be a multiple of groups, got channels=63, groups=2"),
        ({"optim": {"lr": -1}, "seed": -1}, "; seed:"),
        ({"optim": {"name": "sgd"}}, "optim.name: input should be 'adam' or 'rmsprop', got 'sgd'"),
        ({"loss": "logarithm"}, "loss: input should be 'cross_entropy', 'log', 'mse', 'l1' or 'huber'"),
        ({"label_reuse": 1}, "label_reuse=1 puts predictions where labels are inputs: set label_inputs too"),
        ({"distillation": {"techer": "runs/a"}}, "did you mean distillation.teacher"),
        ({"distillation": {"alpha": 1.5}}, "distillation.alpha"),
        ({"data": {"name": "cora", "keep_features": True}}, "data: keep_features joins other features to"),
    ],
    ids=str,
)
def test_mistakes_are_told_in_one_line(values: dict, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RunConfig.parse(values)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.depth", "form KEY=VALUE"),
        ("=3", "form KEY=VALUE"),
        ("epochs.more=3", "epochs is a single value"),
        ("model.depth=[1", "cannot be read"),
        ("modle.depth=3", "did you mean model"),
    ],
)
def test_bad_settings(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")):
        RUN.override([setting])


@pytest.mark.parametrize(
    ("text", "message"), [("- 1\n", "must hold keys"), ("a: [\n", "not valid YAML"), ("epoch: 1\n", "did you mean epochs")]
)
def test_bad_files_name_the_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        RunConfig.from_yaml(path)
    assert str(path) in str(caught.value)


def test_yaml_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("epochs: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        RunConfig.from_yaml(path)


def test_differences_name_keys_that_change_the_run() -> None:
    other = RUN.override(["model.depth=30", "optim.lr=0.1"])
    assert RUN.differences(other) == {"model.depth": (28, 30), "optim.lr": (0.001, 0.1)}
    assert RUN.digest != other.digest


def test_a_longer_run_and_moved_data_are_the_same_run() -> None:
    other = RUN.override(["epochs=70", "data.root=/elsewhere", "save_every=5"])
    assert RUN.differences(other) == {}
    assert RUN.digest == other.digest


def test_with_data_keeps_options_of_the_same_data_set_only() -> None:
    assert RUN.with_data("cora", "/here").data == DataConfig(name="cora", root="/here", self_loops=True)
    assert RUN.with_data("tolokers").data == DataConfig(name="tolokers")


def test_a_configuration_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValueError, match="frozen"):
        RUN.epochs = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_a_key_of_a_teacher_makes_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = RUN.override(["distillation.teacher=runs/a", "distillation.alpha=0.9"])
    assert run.distillation == DistillationConfig(teacher=str(tmp_path / "runs" / "a"), alpha=0.9)
    assert RunConfig.parse(run.model_dump(mode="json")) == run
    assert run.digest != RUN.digest
    assert run.override(["distillation=null"]) == RUN
    assert RUN.override(["data.node_features=x.npy"]).data.node_features == str(tmp_path / "x.npy")
