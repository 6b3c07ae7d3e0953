"""`revgnn.Run`: predictions and scores of a trained network, on its own graph and on others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch_geometric.data import Data

import revgnn
from revgnn.data import generate, save_npz
from revgnn.train import RunConfig, train
from revgnn.train.config import DataConfig
from revgnn.train.run.folder import RunFolder
from revgnn.train.run.inputs import Inputs
from tests.api.conftest import CLASSES, SMALL, N


def test_classes_and_probabilities_agree(run: revgnn.Run, table_run: revgnn.Run) -> None:
    for trained in (run, table_run):
        p = trained.predict_proba()
        assert p.shape == (N, 3)
        assert np.allclose(p.sum(axis=1), 1, atol=1e-6)
        assert np.array_equal(trained.classes_[p.argmax(axis=1)], trained.predict())
    assert set(table_run.predict()) <= set(CLASSES)
    assert list(run.classes_) == [0, 1, 2]


def test_the_graph_may_be_given_again_without_labels(run: revgnn.Run, data: Data) -> None:
    expected = run.predict_proba()
    bare = Data(x=data.x, edge_index=data.edge_index)
    for form in (data, bare, {"graph": data.edge_index, "x": data.x.numpy()}):
        assert np.array_equal(run.predict_proba(form), expected)


def test_another_graph_is_scaled_as_in_training(run: revgnn.Run, data: Data) -> None:
    """Two copies of a graph beside each other, and a third of its nodes alone: statistics of the new nodes play no part."""
    twice = Data(x=torch.cat([data.x, data.x]), edge_index=torch.cat([data.edge_index, data.edge_index + N], dim=1))
    p = run.predict_proba(twice)
    expected = run.predict_proba()
    assert np.allclose(p[:N], expected, atol=1e-6)
    assert np.allclose(p[N:], expected, atol=1e-6)
    alone = Data(x=data.x[:40], edge_index=torch.zeros(2, 0, dtype=torch.long))
    whole = Data(x=data.x, edge_index=torch.zeros(2, 0, dtype=torch.long))
    assert np.allclose(run.predict_proba(alone), run.predict_proba(whole)[:40], atol=1e-6)


def test_scores_of_another_graph(run: revgnn.Run, data: Data) -> None:
    assert run.evaluate(data) == run.evaluate()
    unsplit = Data(x=data.x, edge_index=data.edge_index, y=data.y)
    scores = run.evaluate(unsplit)
    assert scores["train"] is None
    assert scores["test"] == pytest.approx((run.predict() == data.y.numpy()).mean())
    with pytest.raises(ValueError, match="no labels to compare with; predict needs none"):
        run.evaluate(Data(x=data.x, edge_index=data.edge_index))


def test_new_tables(table_run: revgnn.Run, frames: dict[str, pd.DataFrame], tmp_path: Path) -> None:
    bare = {"nodes": frames["nodes"].drop(columns=["plan", "split"]), "edges": frames["edges"]}
    assert np.array_equal(table_run.predict(bare), table_run.predict())
    for name, frame in bare.items():
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    assert np.array_equal(table_run.predict(tmp_path), table_run.predict())
    with pytest.raises(ValueError, match=r"^the table of nodes has no column 'age'"):
        table_run.predict({"nodes": bare["nodes"].drop(columns="age"), "edges": bare["edges"]})


def test_a_file_is_another_graph(run: revgnn.Run, tmp_path: Path) -> None:
    assert run.config.data is not None
    from revgnn.data import load as load_data

    save_npz(load_data(run.config.data.name), tmp_path / "b.npz")
    assert np.array_equal(run.predict_proba(tmp_path / "b.npz"), run.predict_proba())


@pytest.mark.parametrize(("other", "message"), [
    (Data(x=torch.rand(4, 2), edge_index=torch.zeros(2, 0, dtype=torch.long)), "with 3 node features, and these data have 2"),
    (Data(edge_index=torch.zeros(2, 0, dtype=torch.long), num_nodes=4), "with 3 node features, and these data have 1"),
])  # fmt: skip
def test_a_graph_that_does_not_fit(run: revgnn.Run, other: Data, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run.predict(other)


def test_several_labels_and_edge_features(tmp_path: Path) -> None:
    dataset = generate(240, tasks=3)
    run = revgnn.fit(dataset, preset="revgnn-7", settings={**SMALL, "label_inputs": 0.5})
    assert run.predict().shape == run.predict_proba().shape == (240, 3)
    assert run.predict().dtype == bool
    assert len(run.classes_) == 3
    assert np.array_equal(run.predict_proba(dataset), run.predict_proba())
    with pytest.raises(ValueError, match="with 8 edge features, and these data have 0"):
        run.predict({"graph": dataset.graph.edge_index, "x": torch.rand(240, 8), "species": torch.zeros(240, dtype=torch.long)})


def test_load_needs_no_data(run: revgnn.Run, data: Data, tmp_path: Path) -> None:
    """The scale of the features and the form of the outputs are in the weights' file."""
    saved = run.save(tmp_path / "kept")
    with pytest.raises(FileExistsError, match="choose another folder"):
        run.save(saved)
    expected = run.predict_proba()
    config = RunFolder(saved).config_file
    config.write_text(config.read_text().replace("graph.npz", "gone.npz"))
    loaded = revgnn.load(saved, device="cpu")
    assert np.array_equal(loaded.predict_proba(data), expected)
    assert "valid" in repr(loaded)
    with pytest.raises(ValueError, match=r"gone\.npz"):
        loaded.predict()


def test_a_run_of_the_command_line_and_one_of_an_earlier_version(tmp_path: Path) -> None:
    config = RunConfig(data=DataConfig(name="synthetic:nodes=240,tasks=3")).replace({**SMALL, "epochs": 1})
    train(config, tmp_path / "a")
    loaded = revgnn.load(tmp_path / "a")
    dataset = generate(240, tasks=3)
    assert np.array_equal(loaded.predict_proba(dataset), loaded.predict_proba())
    del loaded._note["inputs"]  # as earlier versions saved it: then the run's own data tell
    assert np.array_equal(loaded.predict_proba(dataset), loaded.predict_proba())


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not the folder of a run") as raised:
        revgnn.load(tmp_path)
    assert "--" not in str(raised.value)
    with pytest.raises(ValueError, match="is not a folder"):
        revgnn.load(tmp_path / "none")


def test_inputs_survive_their_note() -> None:
    from dataclasses import replace

    from revgnn.data.feature_scale import FeatureScale

    data = generate(240)
    assert data.x is not None
    scale = FeatureScale.fit(data.x, "log")
    inputs = Inputs.of(replace(data, feature_scale=scale))
    again = Inputs.from_dict(inputs.as_dict(), "here")
    assert again.scale is not None
    assert torch.equal(again.scale.apply(data.x), scale.apply(data.x))
    assert replace(again, scale=None) == replace(inputs, scale=None)
    damaged: dict[str, Any] = {**inputs.as_dict(), "scale": 3}
    with pytest.raises(ValueError, match="here is damaged"):
        Inputs.from_dict(damaged, "here")
