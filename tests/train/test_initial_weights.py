"""Starting from another run's weights (`init`), and going on for longer than was planned."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from revgnn.train import RunConfig, RunFolderError, train
from revgnn.train.config import ConfigError
from revgnn.train.run.folder import RunFolder
from revgnn.train.run.tensor_file import read_tensors

FROZEN = {"optim.lr": 1e-30, "epochs": 1}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return read_tensors(RunFolder(folder).best_file)[0]


def parameters(folder: Path) -> dict[str, torch.Tensor]:
    """Without what counts or averages steps."""
    return {
        name: w for name, w in weights(folder).items() if not any(n in name for n in ("running", "num_batches", "trained_steps"))
    }


def test_training_starts_from_the_best_weights(config: RunConfig, run: Path, tmp_path: Path) -> None:
    started = config.replace({**FROZEN, "init": str(run)})
    train(started, tmp_path / "a")
    own, other = parameters(tmp_path / "a"), parameters(run)
    assert own.keys() == other.keys()
    for name, weight in own.items():
        assert torch.equal(weight, other[name]), name
    assert RunFolder(tmp_path / "a").config().init == str(run)


def test_a_head_for_other_outputs_is_made_anew(config: RunConfig, run: Path, tmp_path: Path) -> None:
    more = config.replace({**FROZEN, "init": str(run), "data.name": "synthetic:nodes=240,degree=8,tasks=5"})
    train(more, tmp_path / "a")
    train(more.replace({"init": None}), tmp_path / "b")
    own, other, drawn = parameters(tmp_path / "a"), parameters(run), parameters(tmp_path / "b")
    for name, weight in own.items():
        assert torch.equal(weight, (drawn if name.startswith("head.") else other)[name]), name


@pytest.mark.parametrize("family", ["revgat", "equilibrium"])
def test_the_heads_of_other_families(family: str, tmp_path: Path) -> None:
    base = {
        "data": {"name": "synthetic:nodes=240,tasks=2"},
        "model": {"family": family, "depth": 4, "channels": 8},
        "device": "cpu",
    }
    if family == "equilibrium":
        base["model"] |= {"solver": {"forward_steps": 4, "backward_steps": 4, "evaluation_steps": 4}}
    config = RunConfig.parse({**base, "optim": {"lr": 1e-30}, "epochs": 1})
    train(config, tmp_path / "a")
    train(config.replace({"data.name": "synthetic:nodes=240,tasks=4", "init": str(tmp_path / "a")}), tmp_path / "b")
    own, other = parameters(tmp_path / "b"), parameters(tmp_path / "a")
    head = "last." if family == "revgat" else "head."
    changed = {name for name in own if own[name].shape != other[name].shape or not torch.allclose(own[name], other[name])}
    assert changed == {name for name in own if name.startswith(head)}


def test_a_resumed_run_does_not_start_again(config: RunConfig, run: Path, tmp_path: Path) -> None:
    """Nor does it need the other run any more."""
    copy = tmp_path / "source"
    copy.mkdir()
    for name in ("config.yaml", "best.safetensors"):
        (copy / name).write_bytes((run / name).read_bytes())
    started = config.replace({"init": str(copy), "epochs": 4})
    train(started, tmp_path / "whole")
    train(started.replace({"epochs": 2}), tmp_path / "parts")
    (copy / "best.safetensors").unlink()
    train(started, tmp_path / "parts", resume=True)
    for name, weight in weights(tmp_path / "whole").items():
        assert torch.equal(weight, weights(tmp_path / "parts")[name]), name


def test_weights_that_do_not_fit(config: RunConfig, run: Path, tmp_path: Path) -> None:
    for changes, words in (
        ({"model.channels": 16}, "model.channels 8 there, 16 here"),
        ({"model.depth": 4}, "model.depth 3 there, 4 here"),
        ({"label_inputs": 0.5}, "label_inputs 0.0 there, 0.5 here"),
    ):
        with pytest.raises(ConfigError, match=words):
            train(config.replace({**changes, "init": str(run)}), tmp_path / "a", overwrite=True)
    with pytest.raises(ConfigError, match=r"no weights in .*nowhere"):
        train(config.replace({"init": str(tmp_path / "nowhere")}), tmp_path / "b")
    assert not (tmp_path / "b").exists() or not any((tmp_path / "b").iterdir())


# --- more epochs ----------------------------------------------------------------------------------------------------------


def test_more_epochs_under_a_cosine_schedule_are_refused_with_the_reason(config: RunConfig, tmp_path: Path) -> None:
    cosine = config.replace({"optim.schedule": "cosine", "epochs": 1})
    train(cosine, tmp_path / "a")
    with pytest.raises(
        RunFolderError,
        match=r"epochs was 1, is now 2.*learning rate of each step depends.*: config\.replace\(\{\"init\": ...\}\)\.",
    ):
        train(cosine.replace({"epochs": 2}), tmp_path / "a", resume=True)
    train(cosine.replace({"epochs": 2, "init": str(tmp_path / "a")}), tmp_path / "b")


def test_a_run_that_lost_patience_goes_on_with_more(config: RunConfig, tmp_path: Path) -> None:
    """Patience may change when a run is resumed; epochs alone would train nothing, which is said."""
    impatient = config.replace({"patience": 1, "epochs": 6, "optim.lr": 1e-30, "model.dropout": 0.0, "model.norm": "layer"})
    assert train(impatient, tmp_path / "a").stopped == "patience"
    done = len(RunFolder(tmp_path / "a").metrics())
    assert done < 6
    with pytest.warns(UserWarning, match="larger patience"):
        train(impatient.replace({"epochs": 8}), tmp_path / "a", resume=True)
    result = train(impatient.replace({"patience": None}), tmp_path / "a", resume=True)
    assert (result.epochs, result.stopped) == (6, "epochs")
    train(impatient.replace({"patience": None}), tmp_path / "b")
    for name, weight in weights(tmp_path / "b").items():
        assert torch.equal(weight, weights(tmp_path / "a")[name]), name
