"""Checkpoints in the authors' layout: imported, they predict what the authors' network predicts, and exported they are the same."""

from __future__ import annotations

import argparse
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from revgnn.cli.app import app
from revgnn.experiments import get_preset
from revgnn.interop import OfficialError, export_official, import_official
from revgnn.train import RunFolder, RunFolderError, evaluate_run, predict_run, train
from revgnn.train.config import DataConfig
from revgnn.train.datasets import load_dataset
from tests.interop import official

DATA = "synthetic:nodes=240,degree=8,tasks=3"

AGGREGATORS: list[dict[str, Any]] = [
    *({"gcn_aggr": aggr} for aggr in ("max", "mean", "add")),
    {"gcn_aggr": "softmax", "t": 0.7},
    {"gcn_aggr": "softmax", "t": 0.7, "learn_t": True},
    {"gcn_aggr": "softmax_sg", "t": 0.1},
    {"gcn_aggr": "softmax_sum", "t": 0.5, "y": 0.4},
    {"gcn_aggr": "softmax_sum", "t": 0.5, "learn_t": True, "learn_y": True},
    {"gcn_aggr": "power", "p": 1.5},
    {"gcn_aggr": "power", "p": 1.0},
    {"gcn_aggr": "power", "p": 1.5, "learn_p": True},
    {"gcn_aggr": "power_sum", "p": 0.6, "y": -1.0},
    {"gcn_aggr": "power_sum", "p": 1.5, "learn_p": True, "learn_y": True},
    {"msg_norm": True},
    {"msg_norm": True, "learn_msg_scale": True, "gcn_aggr": "softmax_sum", "learn_t": True},
    {"norm": "batch", "mlp_layers": 3, "group": 4, "num_layers": 5},
    {"mlp_layers": 1},
]
"""Every aggregator of theirs, with its parameters fixed and learned, and every other part of a block."""


def name_of(args: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in args.items())


def save(path: Path, tensors: dict[str, Tensor], **more: Any) -> Path:
    """Write a file as their `save_ckpt` does."""
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))])
    torch.save(
        {"epoch": 12, "model_state_dict": tensors, "optimizer_state_dict": optimizer.state_dict(), "loss": 0.3, **more}, path
    )
    return path


def settings_for(args: dict[str, Any]) -> dict[str, Any]:
    """What their file leaves open, in our terms; the whole graph at once, and a state that is not rounded."""
    names = {"add": "sum", "softmax_sg": "softmax-semigrad", "power_sum": "power-sum"}
    names |= {"softmax": "softmax" if args["learn_t"] else "softmax-semigrad"}
    names |= {"softmax_sum": "softmax-sum" if args["learn_t"] else "softmax-sum-semigrad"}
    aggr = args["gcn_aggr"]
    settings = {"model.dropout": args["dropout"], "model.aggregation": names.get(aggr, aggr), "evaluation.parts": 1}
    value = "p" if aggr.startswith("power") else "t"
    if aggr.startswith(("softmax", "power")) and not args[f"learn_{value}"]:
        settings["model.aggregation_init"] = args[value]
    return {**settings, "model.state": "plain"}


def logits_of(run: Path, folder: Path) -> np.ndarray:
    predict_run(run, folder / "predictions.npz")
    with np.load(folder / "predictions.npz") as arrays:
        return arrays["logits"]


@pytest.mark.parametrize("changes", AGGREGATORS, ids=name_of)
def test_revgnn_predicts_the_same_and_goes_back(changes: dict[str, Any], tmp_path: Path) -> None:
    args, tensors = official.revgnn(**changes)
    file = save(tmp_path / "theirs.pth", tensors)
    report = import_official(file, tmp_path / "run", data=DATA, settings=settings_for(args))
    assert report["epoch"] == 12
    dataset = load_dataset(DataConfig(name=DATA))
    expected = official.predict_revgnn(tensors, args, dataset.graph, dataset.x, dataset.species)
    np.testing.assert_allclose(logits_of(tmp_path / "run", tmp_path), expected, rtol=0, atol=2e-5 * float(expected.abs().amax()))
    assert set(evaluate_run(tmp_path / "run")) >= {"train", "valid", "test"}

    export_official(tmp_path / "run", tmp_path / "back.pth")
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert back["model_state_dict"].keys() == tensors.keys()
    assert back["epoch"] == 12
    for name, tensor in tensors.items():
        other = back["model_state_dict"][name]
        assert other.dtype == tensor.dtype
        assert torch.equal(other, tensor), name
    # with its arguments inside, the file leaves nothing open
    import_official(tmp_path / "back.pth", tmp_path / "again", data=DATA)
    first, second = (RunFolder(tmp_path / name).config().model for name in ("run", "again"))
    assert second == first.model_copy(update={"state": "grid"})


def test_on_the_grid_predictions_differ_by_rounding(tmp_path: Path) -> None:
    """The default of a run, for exact gradients."""
    args, tensors = official.revgnn()
    settings = {**settings_for(args), "model.state": "grid"}
    import_official(save(tmp_path / "theirs.pth", tensors), tmp_path / "run", data=DATA, settings=settings)
    dataset = load_dataset(DataConfig(name=DATA))
    expected = official.predict_revgnn(tensors, args, dataset.graph, dataset.x, dataset.species)
    np.testing.assert_allclose(logits_of(tmp_path / "run", tmp_path), expected, rtol=0, atol=2e-3)


REVGATS: list[dict[str, Any]] = [
    {},
    {"no_attn_dst": False},
    {"use_norm": False},
    {"n_layers": 2},
    {"group": 4, "n_layers": 5},
]


def revgat_settings(args: dict[str, Any]) -> dict[str, Any]:
    settings = {"model.symmetric": args["use_norm"], "model.dropout": 0.75, "model.input_dropout": 0.25, "model.edge_dropout": 0.3}
    return {**settings, "label_inputs": 0.0, "label_reuse": 0, "model.state": "plain", "loss": "cross_entropy"}


@pytest.mark.parametrize("changes", REVGATS, ids=name_of)
def test_revgat_predicts_the_same_and_goes_back(changes: dict[str, Any], tmp_path: Path) -> None:
    dataset = load_dataset(DataConfig(name=DATA))
    args, tensors = official.revgat(inputs=8 + dataset.num_species, **changes)
    torch.save(tensors, tmp_path / "theirs.pth")
    import_official(tmp_path / "theirs.pth", tmp_path / "run", data=DATA, settings=revgat_settings(args))
    one_hot = torch.nn.functional.one_hot(dataset.species, dataset.num_species)
    expected = official.predict_revgat(tensors, args, dataset.graph, torch.cat([dataset.x, one_hot], 1))
    np.testing.assert_allclose(logits_of(tmp_path / "run", tmp_path), expected, rtol=0, atol=2e-5 * float(expected.abs().amax()))

    export_official(tmp_path / "run", tmp_path / "back.pth")
    back = torch.load(tmp_path / "back.pth", weights_only=True)["model_state_dict"]
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())
    import_official(tmp_path / "back.pth", tmp_path / "again", data=DATA)
    first, second = (RunFolder(tmp_path / name).config().model for name in ("run", "again"))
    assert second == first.model_copy(update={"state": "grid"})


def test_the_published_networks_with_their_presets(tmp_path: Path) -> None:
    """All that the file leaves open is in the preset. RevGNN-Deep with fewer layers; RevGAT whole."""
    _, tensors = official.revgnn(species=8, num_layers=2, hidden_channels=80, num_tasks=112)
    file = save(tmp_path / "deep.pth", tensors)
    import_official(file, tmp_path / "deep", base=get_preset("revgnn-deep"))
    config, preset = RunFolder(tmp_path / "deep").config(), get_preset("revgnn-deep")
    assert config.model == preset.model.model_copy(update={"depth": 2})
    assert config.data.name == "ogbn-proteins"
    assert config.model_copy(update={"model": preset.model}) == preset
    _, tensors = official.revgat(inputs=168, classes=40, n_layers=5, n_hidden=256)
    torch.save({"model_state_dict": tensors}, tmp_path / "gat.pth")
    report = import_official(tmp_path / "gat.pth", tmp_path / "gat", base=get_preset("revgat"))
    assert RunFolder(tmp_path / "gat").config() == get_preset("revgat")
    assert report["parameters"] == 2_098_256


@pytest.mark.parametrize("kind", [dict, argparse.Namespace])
def test_arguments_in_the_file_are_read(kind: type, tmp_path: Path) -> None:
    args, tensors = official.revgnn(gcn_aggr="softmax_sum", t=0.3, learn_y=True, dropout=0.2)
    file = save(tmp_path / "theirs.pth", tensors, args=args if kind is dict else argparse.Namespace(**args))
    report = import_official(file, tmp_path / "run", data=DATA)
    model = RunFolder(tmp_path / "run").config().model
    assert model.convolution.aggregation == "softmax-sum-semigrad"
    assert model.convolution.aggregation_init == 0.3
    assert model.convolution.learn_degree
    assert model.dropout == report["given"]["model.dropout"] == 0.2


def test_an_imported_run_may_teach_and_cannot_be_resumed(tmp_path: Path) -> None:
    """Resuming would begin anew, and delete the weights."""
    args, tensors = official.revgnn()
    import_official(save(tmp_path / "theirs.pth", tensors), tmp_path / "run", data=DATA, settings=settings_for(args))
    before = (tmp_path / "run" / "best.safetensors").read_bytes()
    config = RunFolder(tmp_path / "run").config()
    with pytest.raises(RunFolderError, match="imported, without the state of an optimiser, so it cannot be resumed"):
        train(config, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "best.safetensors").read_bytes() == before
    student = {"epochs": 1, "model.depth": 2, "distillation.teacher": str(tmp_path / "run"), "parts": 1}
    train(config.replace(student), tmp_path / "student")
    assert RunFolder(tmp_path / "student").load_teacher().shape == (240, 3)


# --- the command line -----------------------------------------------------------------------------------------------------------


def revgnn(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_commands(tmp_path: Path) -> None:
    _, tensors = official.revgnn()
    file = save(tmp_path / "theirs.pth", tensors)
    rest = ["--data", DATA, "--set", "model.aggregation=max", "--set", "model.dropout=0.1"]
    result = revgnn("import-official", file, "--out", tmp_path / "run", *rest)
    assert result.exit_code == 0, result.output
    assert "weights of epoch 12, for synthetic" in result.stdout
    assert "from the file: family=reversible, " in result.stdout
    assert revgnn("predict", tmp_path / "run", "--out", tmp_path / "p.npz").exit_code == 0
    evaluated = revgnn("evaluate", tmp_path / "run")
    assert evaluated.exit_code == 0
    assert "weights of epoch 12" in evaluated.stdout
    exported = revgnn("export-official", tmp_path / "run", "--out", tmp_path / "back.pth", "--json")
    assert exported.exit_code == 0, exported.output
    assert json.loads(exported.stdout)["args"]["gcn_aggr"] == "max"
    again = revgnn("import-official", tmp_path / "back.pth", "--out", tmp_path / "again", "--data", DATA, "--json")
    assert json.loads(again.stdout)["from_file"]["model.depth"] == 3
    refused = revgnn("import-official", file, "--out", tmp_path / "run", *rest)
    assert refused.exit_code == 2
    assert "is not empty; choose another --out" in refused.stderr
    open_ = revgnn("import-official", file, "--out", tmp_path / "new")
    assert open_.exit_code == 2
    assert "--set model.dropout=..." in open_.stderr
    assert not (tmp_path / "new").exists()


# --- mistakes -------------------------------------------------------------------------------------------------------------------


def drop(part: str):
    return lambda tensors: {name: t for name, t in tensors.items() if part not in name}


def put(**more: Tensor):
    return lambda tensors: {**tensors, **{name.replace("__", "."): t for name, t in more.items()}}


@pytest.mark.parametrize(
    ("change", "args", "settings", "message"),
    [
        (None, {}, {"model.dropout": None}, "leaves settings open.*the rate of dropout is not in the file: --set model.dropout="),
        (
            None,
            {},
            {"model.aggregation": None},
            "one of max, mean, sum, softmax, softmax-semigrad, power .*--set model.aggregation=",
        ),
        (
            None,
            {"gcn_aggr": "softmax"},
            {"model.aggregation_init": None},
            "temperature t is not learned.*--set model.aggregation_init=",
        ),
        (None, {"gcn_aggr": "power"}, {"model.aggregation_init": None}, "exponent p is not learned"),
        (None, {"gcn_aggr": "power_sum"}, {"model.aggregation": None}, "but with y, which is one of softmax-sum, .*power-sum"),
        (
            None,
            {"gcn_aggr": "softmax", "learn_t": True},
            {"model.aggregation": "max"},
            "aggregation=max contradicts .* has softmax",
        ),
        (None, {}, {"model.depth": 4}, "model.depth=4 contradicts the checkpoint, which has 3"),
        (drop("gcns.1."), {}, {}, "has layer 2 but not layer 1"),
        (drop("gcns.1._fn.Fms.1"), {}, {}, r"lacks what is stack\.layers\.1\.blocks\.1"),
        (drop("edge_encoder"), {}, {}, r"has no edge_encoder\.weight"),
        (drop("node_pred_linear.bias"), {}, {}, r"lacks what is head\.bias"),
        (
            put(gcns__0___fn__Fms__0__gcn__q=torch.ones(1)),
            {},
            {},
            r"gcns\.0\._fn\.Fms\.0\.gcn\.q', which the authors' code does not",
        ),
        (put(other=torch.ones(1)), {}, {}, "'other', which the authors' code does not write"),
        (put(last_norm__weight=torch.ones(5)), {}, {}, r"norm\.weight in our network has shape \(5,\) in .*, expected \(12,\)"),
        (lambda _: {"weight": torch.ones(2)}, {}, {}, "neither the authors' RevGNN .* nor their RevGAT"),
    ],
)
def test_files_that_cannot_be_imported(change, args, settings, message: str, tmp_path: Path) -> None:
    arguments, tensors = official.revgnn(**args)
    file = save(tmp_path / "theirs.pth", change(tensors) if change else tensors)
    given = {key: value for key, value in {**settings_for(arguments), **settings}.items() if value is not None}
    with pytest.raises(OfficialError, match=message):
        import_official(file, tmp_path / "run", data=DATA, settings=given)
    assert not (tmp_path / "run").exists()


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    _, tensors = official.revgnn()
    malicious = Malicious(tmp_path / "was-executed")
    for content in ({"model_state_dict": tensors, "args": malicious}, malicious):
        torch.save(content, tmp_path / "bad.pth")
        with pytest.raises(OfficialError, match="cannot be read as a checkpoint"):
            import_official(tmp_path / "bad.pth", tmp_path / "run", data=DATA)
    (tmp_path / "bad.pth").write_bytes(pickle.dumps(malicious))
    with pytest.raises(OfficialError, match="cannot be read as a checkpoint"):
        import_official(tmp_path / "bad.pth", tmp_path / "run", data=DATA)
    assert not malicious.path.exists()


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist"):
        import_official(tmp_path / "none.pth", tmp_path / "run")
    torch.save({"model_state_dict": {"a": 3}}, tmp_path / "numbers.pth")
    with pytest.raises(OfficialError, match="must hold a dict with model_state_dict"):
        import_official(tmp_path / "numbers.pth", tmp_path / "run")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(OfficialError, match="its keys are epoch"):
        import_official(tmp_path / "empty.pth", tmp_path / "run")


def test_ogbn_proteins_needs_the_encoder_of_species(tmp_path: Path) -> None:
    args, tensors = official.revgnn(use_one_hot_encoding=False)
    file = save(tmp_path / "theirs.pth", tensors)
    with pytest.raises(OfficialError, match="has no node_one_hot_encoder, and the nodes of ogbn-proteins have species"):
        import_official(file, tmp_path / "run", settings=settings_for(args))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"family": "residual"}, "this run has family=residual, conv=gen"),
        ({"conv": "gcn"}, "family=reversible, conv=gcn"),
        ({"tied": True, "depth": 4}, "tied=True"),
        ({"norm": "none"}, "this run has norm=none"),
        ({"edge_features": False}, "this run has no edge features"),
        ({"aggregation": "power"}, "this run has clamp_power=false"),
        ({"family": "revgat", "groups": 1, "channels": 12}, "this run has groups=1"),
    ],
)
def test_networks_that_the_authors_code_does_not_have(model: dict[str, Any], message: str, tmp_path: Path) -> None:
    from revgnn.models import ModelConfig, build_model
    from revgnn.train import RunConfig
    from revgnn.train.run.tensor_file import write_tensors

    config = RunConfig(model=ModelConfig(**{"depth": 3, "channels": 8, **model}))
    folder = RunFolder(tmp_path)
    folder.config_file.write_text(config.to_yaml())
    network = build_model(config.model, in_channels=8, out_channels=3, num_edge_features=8, num_species=4)
    write_tensors(folder.best_file, network.state_dict(), {"epoch": 1})
    with pytest.raises(OfficialError, match=message):
        export_official(tmp_path, tmp_path / "out.pth")
    assert not (tmp_path / "out.pth").exists()
