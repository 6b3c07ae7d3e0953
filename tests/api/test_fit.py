"""`revgnn.fit`: every form of data gives the run that the command line would give, and leaves nothing behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from torch_geometric.data import Data

import revgnn
from revgnn.data import load as load_data
from revgnn.data import save_npz
from revgnn.experiments.compose import compose
from revgnn.train import evaluate_run, train
from revgnn.train.run.events import EpochEnded, Event, Started
from tests.api.conftest import CLASSES, SMALL, TABLES, N

SMALL_RUN = {"preset": "revgnn-7", "settings": SMALL}


def test_a_run_in_memory_is_the_run_of_a_file(run: revgnn.Run, data: Data, tmp_path: Path) -> None:
    """Bit for bit: `fit` adds nothing to training."""
    arrays = {name: data[name].numpy() for name in ("x", "y", "edge_index", "train_mask", "val_mask", "test_mask")}
    np.savez(tmp_path / "graph.npz", **arrays)
    config = compose(str(tmp_path / "graph.npz"), preset="revgnn-7").replace(SMALL)
    result = train(config, tmp_path / "run")
    assert run.result is not None
    assert (run.result["valid"], run.result["test"]) == (result.valid, result.test)
    again = revgnn.load(tmp_path / "run")
    for name, weight in run.model.state_dict().items():
        assert torch.equal(weight, again.model.state_dict()[name]), name


def test_all_forms_of_a_graph_are_one(run: revgnn.Run, data: Data, mapping: dict[str, Any], tmp_path: Path) -> None:
    expected = run.predict_proba()
    assert np.array_equal(revgnn.fit(mapping, **SMALL_RUN).predict_proba(), expected)
    assert run.config.data is not None
    dataset = load_data(run.config.data.name)
    assert np.array_equal(revgnn.fit(dataset, **SMALL_RUN).predict_proba(), expected)
    save_npz(dataset, tmp_path / "graph.npz")
    for path in (tmp_path / "graph.npz", str(tmp_path / "graph.npz")):
        assert np.array_equal(revgnn.fit(path, **SMALL_RUN).predict_proba(), expected)


class ArrowOnly:
    """A table that speaks only Arrow's stream, as polars' does."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


class InterchangeOnly:
    """A table that speaks only the older protocol."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def __dataframe__(self, nan_as_null: bool = False, allow_copy: bool = True) -> Any:
        return pa.Table.from_pandas(self._frame).__dataframe__(nan_as_null, allow_copy)


def test_tables_of_every_library_are_one(table_run: revgnn.Run, frames: dict[str, pd.DataFrame]) -> None:
    expected = table_run.predict_proba()
    arrow = {name: pa.Table.from_pandas(frame) for name, frame in frames.items()}
    indexed = {"nodes": frames["nodes"].set_index("id"), "edges": frames["edges"]}
    forms = [arrow, {k: ArrowOnly(v) for k, v in arrow.items()}, {k: InterchangeOnly(v) for k, v in frames.items()}, indexed]
    for form in forms:
        again = revgnn.fit(form, preset="revgnn-7", settings=TABLES)
        assert np.array_equal(again.predict_proba()[:, 0], expected[:, 0])


def test_tables_of_polars(table_run: revgnn.Run, frames: dict[str, pd.DataFrame]) -> None:
    polars = pytest.importorskip("polars")
    form = {name: polars.from_pandas(frame) for name, frame in frames.items()}
    again = revgnn.fit(form, preset="revgnn-7", settings=TABLES)
    assert np.array_equal(again.predict_proba(), table_run.predict_proba())


def test_nothing_is_left_behind(data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = revgnn.fit(data, **SMALL_RUN)
    folder = run.folder
    assert folder.is_dir()
    assert not any(tmp_path.iterdir())
    before = data.x.clone()
    del run
    assert not folder.exists()
    assert torch.equal(data.x, before)


def test_a_run_that_is_kept_needs_no_memory(data: Data, tmp_path: Path) -> None:
    run = revgnn.fit(data, **SMALL_RUN, out=tmp_path / "run")
    assert run.folder == tmp_path / "run"
    scores = run.evaluate()
    again = revgnn.load(tmp_path / "run")
    assert again.evaluate() == scores
    of_the_command_line = evaluate_run(tmp_path / "run")
    assert {name: of_the_command_line[name] for name in scores} == scores
    with pytest.raises(ValueError, match="choose another folder as out"):
        revgnn.fit(data, **SMALL_RUN, out=tmp_path / "run")


def test_auto_is_the_default_and_settings_win(data: Data, frames: dict[str, pd.DataFrame]) -> None:
    run = revgnn.fit(data, settings={"epochs": 2, "model.depth": 3, "device": "cpu", "optim.clip_norm": None})
    assert run.choice is not None
    assert run.config.preset == "auto"
    assert run.config.notes == run.choice.lines()
    assert (run.config.epochs, run.config.model.depth, run.config.optim.clip_norm) == (2, 3, None)
    of_tables = revgnn.fit(frames, settings={"epochs": 1, "device": "cpu", "data.labels": ["plan"]})
    assert of_tables.config.data is not None
    assert of_tables.config.data.features == "raw"
    assert [str(name) for name in of_tables.classes_] == list(CLASSES)


def test_a_configuration_is_a_preset(run: revgnn.Run, data: Data) -> None:
    again = revgnn.fit(data, preset=run.config)
    assert np.array_equal(again.predict_proba(), run.predict_proba())


def test_the_task_may_be_said(data: Data) -> None:
    two = Data(x=data.x, edge_index=data.edge_index, y=(data.y > 0).long())
    assert revgnn.fit(two, **SMALL_RUN).predict_proba().shape == (N, 2)
    run = revgnn.fit(two, task="multiclass", **SMALL_RUN)
    assert run.evaluate()["metric"] == "accuracy"
    with pytest.raises(ValueError, match=r"data\.task: input should be 'multiclass', .* got 'clustering'"):
        revgnn.fit(two, task="clustering", **SMALL_RUN)


def test_numbers(data: Data) -> None:
    targets = Data(x=data.x, edge_index=data.edge_index, y=100 + 5 * data.x[:, :2].sum(dim=1))
    run = revgnn.fit(targets, **SMALL_RUN)
    found = run.predict()
    assert found.shape == (N,)
    assert np.abs(found - targets.y.numpy()).mean() == pytest.approx(run.evaluate()["train"], rel=0.5)
    assert abs(found.mean() - float(targets.y.mean())) < float(targets.y.std())  # in the units of the labels
    assert list(run.classes_) == ["target"]
    assert np.array_equal(run.predict(Data(x=data.x, edge_index=data.edge_index)), found)
    with pytest.raises(ValueError, match="a regression has no probabilities"):
        run.predict_proba()


def test_many_small_graphs() -> None:
    generator = torch.Generator().manual_seed(0)
    graphs = []
    for label in torch.arange(30) % 2:
        ring = torch.stack([torch.arange(6), (torch.arange(6) + 1) % 6])
        x = torch.rand(6, 3, generator=generator) + label
        graphs.append(Data(x=x, edge_index=torch.cat([ring, ring.flip(0)], dim=1), y=label[None]))
    run = revgnn.fit(graphs, settings={"epochs": 40, "device": "cpu", "model.depth": 2, "model.channels": 16, "model.dropout": 0.0})
    assert run.predict().shape == (30,)
    assert run.evaluate()["train"] > 0.95
    assert run.predict_proba().shape == (30, 2)
    with pytest.raises(ValueError, match="this run predicts graphs"):
        run.predict(graphs)


def test_links(data: Data) -> None:
    bare = Data(x=data.x, edge_index=data.edge_index)
    run = revgnn.fit(bare, task="links", **SMALL_RUN)
    scores = run.evaluate()
    assert scores["metric"] == "rocauc"
    assert 0 <= scores["test"] <= 1
    assert set(run.predict()) <= {0, 1}


def test_callbacks_and_progress(data: Data, capsys: pytest.CaptureFixture[str]) -> None:
    events: list[Event] = []
    run = revgnn.fit(data, **SMALL_RUN, callbacks=[events.append])
    assert isinstance(events[0], Started)
    assert [e.epoch for e in events if isinstance(e, EpochEnded)] == [1, 2, 3] == [line["epoch"] for line in run.history]
    assert capsys.readouterr().out == ""
    revgnn.fit(data, settings={"epochs": 1, "device": "cpu", "model.depth": 2}, progress=True)
    text = capsys.readouterr().out
    assert "homophily" in text
    assert "epoch 1/1" in text

    def stop(_: Event) -> None:
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        revgnn.fit(data, **SMALL_RUN, callbacks=[stop])


def test_weights_of_another_run(run: revgnn.Run, data: Data) -> None:
    frozen = {**SMALL, "optim.lr": 1e-12, "epochs": 1}
    again = revgnn.fit(data, preset="revgnn-7", settings=frozen, init=run)
    assert np.allclose(again.predict_proba(), run.predict_proba(), atol=1e-5)
    fewer = Data(x=data.x, edge_index=data.edge_index, y=(data.y > 0).long())
    other_head = revgnn.fit(fewer, preset="revgnn-7", settings=frozen, init=run)
    for name, weight in other_head.model.state_dict().items():
        if not name.startswith("head."):
            assert torch.allclose(weight, run.model.state_dict()[name], atol=1e-6), name
    assert other_head.predict_proba().shape == (N, 2)
    with pytest.raises(ValueError, match=r"do not fit this network.*model.channels 8 there, 16 here"):
        revgnn.fit(data, preset="revgnn-7", settings={**SMALL, "model.channels": 16}, init=run)


MISTAKES: list[tuple[Any, dict[str, Any], str]] = [
    (3, {}, "cannot train on int"),
    ({"x": torch.rand(3, 2)}, {}, "the graph is missing"),
    ({"graph": torch.zeros(2, 1, dtype=torch.long), "labels": [1]}, {}, "got labels"),
    ({"graph": torch.zeros(2, 1, dtype=torch.long), "x": torch.rand(3, 2)}, {}, "isolated nodes at the end"),
    ({"graph": torch.tensor([[0], [1]]), "y": [0, 1], "species": [1, 2]}, {}, "from 0 without gaps"),
    (Data(edge_index=torch.zeros(2, 1, dtype=torch.long), num_nodes=3), {}, "no labels y"),
    ({"nodes": 3, "edges": 4}, {}, "int; give a table"),
    ({"nodes": pd.DataFrame({"id": [1]})}, {}, "data={'nodes': ..., 'edges': ...}"),
    ("tolokerz", {}, "did you mean tolokers"),
    ("cora", {"settings": {"data.root": "/nowhere"}}, "/nowhere"),
    ("synthetic:nodes=240", {"preset": "revgnn-29"}, "did you mean revgnn-28"),
    ("synthetic:nodes=240", {"settings": {"model.chanels": 3}}, "did you mean model.channels"),
    ("synthetic:nodes=240", {"init": "/nowhere"}, "no weights in /nowhere"),
]


@pytest.mark.parametrize(("data", "arguments", "message"), MISTAKES, ids=[m[2] for m in MISTAKES])
def test_mistakes_are_explained_in_python(data: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError)) as raised:
        revgnn.fit(data, **arguments)
    text = str(raised.value)
    assert message in text
    assert "--" not in text
    assert "/tmp" not in text
    assert len(text.splitlines()) == 1


def test_a_mistake_in_tables_names_the_table(frames: dict[str, pd.DataFrame]) -> None:
    with pytest.raises(ValueError, match=r'^the table of nodes: .*settings=\{"data.labels"'):
        revgnn.fit({"nodes": frames["nodes"].drop(columns="plan").assign(a="x"), "edges": frames["edges"]})
    mixed = frames["nodes"].assign(age=[1, "a"] * (N // 2))
    with pytest.raises(ValueError, match=r"the table of nodes cannot be stored.*give each column one type"):
        revgnn.fit({"nodes": mixed, "edges": frames["edges"]})
