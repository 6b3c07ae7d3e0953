"""A run knows its data: it stops if they have changed and says what; it does not matter where they are."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from revgnn.data import NodeDataset, Split, generate
from revgnn.data.fingerprint import PARTS, changed_parts, fingerprint
from revgnn.graph import Graph
from revgnn.models.config import ModelConfig
from revgnn.train.config import ConfigError, DataConfig, RunConfig, digest_as_written
from revgnn.train.inference.correlate import correlate_runs
from revgnn.train.inference.evaluate import evaluate_run
from revgnn.train.inference.predict import predict_run
from revgnn.train.inference.saved_run import LoadOptions
from revgnn.train.run.changed_data import ChangedDataError
from revgnn.train.run.events import Event, Stepped
from revgnn.train.run.folder import RunFolder, RunFolderError
from revgnn.train.run.loop import Interrupted, train
from revgnn.train.run.session import prepare
from revgnn.train.run.tensor_file import read_tensors, write_tensors
from revgnn.train.sweeps import sweep
from revgnn.train.tricks.teacher import teacher_logits

N, E = 60, 300


def arrays(**changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    found = {
        "edge_index": rng.integers(0, N, (2, E)),
        "edge_attr": rng.random((E, 2), np.float32),
        "x": rng.normal(size=(N, 5)).astype(np.float32),
        "y": rng.integers(0, 3, N),
    }
    parts = rng.permutation(N)
    for name, nodes in (("train", parts[:30]), ("valid", parts[30:45]), ("test", parts[45:])):
        found[f"{name}_mask"] = np.isin(np.arange(N), nodes)
    return {**found, **changes}


def save(path: Path, **changes: Any) -> Path:
    np.savez(path, **arrays(**changes))
    return path


def with_another_label() -> dict[str, Any]:
    y = arrays()["y"]
    y[0] = (y[0] + 1) % 3
    return {"y": y}


def with_another_split() -> dict[str, Any]:
    test, valid = arrays()["test_mask"], arrays()["valid_mask"]
    node = int(np.flatnonzero(test)[0])
    test[node], valid[node] = False, True
    return {"test_mask": test, "valid_mask": valid}


def with_another_edge() -> dict[str, Any]:
    edges = arrays()["edge_index"]
    edges[0, 0] = (edges[0, 0] + 1) % N
    return {"edge_index": edges}


CHANGES: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "a label": (with_another_label, "labels"),
    "a test node": (with_another_split, "validation nodes, test nodes"),
    "a feature": (lambda: {"x": np.nextafter(arrays()["x"], np.float32(9))}, "node features"),
    "an edge feature": (lambda: {"edge_attr": arrays()["edge_attr"] * 2}, "edge features"),
    "an edge": (with_another_edge, "the graph"),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return save(tmp_path / "g.npz")


@pytest.fixture
def config(file: Path) -> RunConfig:
    model = ModelConfig(depth=2, channels=8, dropout=0.2)
    return RunConfig(data=DataConfig(name=str(file), features="standard"), model=model, epochs=2, device="cpu")


@pytest.fixture
def run(config: RunConfig, tmp_path: Path) -> Path:
    train(config, tmp_path / "run")
    return tmp_path / "run"


# --- changed data ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", CHANGES)
def test_changed_data_are_refused_by_name(config: RunConfig, file: Path, run: Path, tmp_path: Path, change: str) -> None:
    changes, what = CHANGES[change]
    save(file, **changes())
    before = {p.name: p.read_bytes() for p in run.iterdir()}
    uses: dict[str, Callable[[bool], object]] = {
        "resume": lambda allow: train(config.override(["epochs=3"]), run, resume=True, allow_changed_data=allow),
        "predict": lambda allow: predict_run(run, tmp_path / "p.npz", LoadOptions(allow_changed_data=allow)),
        "evaluate": lambda allow: evaluate_run(run, LoadOptions(allow_changed_data=allow)),
        "correlate": lambda allow: correlate_runs([run, run], LoadOptions(allow_changed_data=allow)),
    }
    for use in uses.values():
        with pytest.raises(ChangedDataError, match=rf"changed: (the graph, )?{what}\. .* allow_changed_data=True"):
            use(False)
    assert {p.name: p.read_bytes() for p in run.iterdir()} == before
    assert not (tmp_path / "p.npz").exists()
    for name in ("evaluate", "predict", "correlate", "resume"):
        with pytest.warns(UserWarning, match=f"changed: (the graph, )?{what}"):
            uses[name](True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate_run(run)  # the resumed run was trained on the new data


def test_after_a_change_the_best_weights_are_those_for_the_new_data(config: RunConfig, file: Path, run: Path) -> None:
    save(file, **with_another_label())
    with pytest.warns(UserWarning, match="best weights for other data"):
        result = train(config.override(["epochs=2"]), run, resume=True, allow_changed_data=True)
    scores = evaluate_run(run)
    assert (scores["valid"], scores["test"]) == (result.valid, result.test)


def test_a_stopped_run_does_not_resume_on_other_labels(config: RunConfig, file: Path, tmp_path: Path) -> None:
    steps: list[Event] = []

    def count(event: Event) -> None:
        steps.extend([event] if isinstance(event, Stepped) else [])

    with pytest.raises(Interrupted):
        train(config, tmp_path / "a", hooks=[count], should_stop=lambda: len(steps) == 1)
    save(file, **with_another_label())
    with pytest.raises(ChangedDataError, match="changed: labels"):
        train(config, tmp_path / "a", resume=True)


def test_a_teacher_on_other_data_is_refused(config: RunConfig, file: Path, run: Path) -> None:
    save(file, **with_another_label())
    student = config.override([f"distillation.teacher={run}"])
    with pytest.raises(ChangedDataError, match="changed: labels"):
        teacher_logits(prepare(student))


def test_a_sweep_does_not_take_over_results_for_other_data(config: RunConfig, file: Path, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"splits": [0], "seeds": [0, 1], "resume": True}
    sweep(config, tmp_path / "s", **arguments)
    sweep(config, tmp_path / "s", **arguments)
    save(file, **with_another_label())
    with pytest.raises(ChangedDataError, match="changed: labels"):
        sweep(config, tmp_path / "s", **arguments)


def test_runs_of_earlier_versions_work_with_a_note(config: RunConfig, file: Path, run: Path, tmp_path: Path) -> None:
    for name in ("best.safetensors", "last.safetensors"):
        tensors, note = read_tensors(run / name)
        del note["data"]
        if name == "last.safetensors":
            note["config"] = digest_as_written(run / "config.yaml")  # it includes the path of the data
            assert note["config"] != config.digest
        write_tensors(run / name, tensors, note)
    moved = file.rename(tmp_path / "moved.npz")
    uses: tuple[Callable[[], object], ...] = (
        lambda: evaluate_run(run, LoadOptions(data=moved)),
        lambda: predict_run(run, tmp_path / "p.npz", LoadOptions(data=moved)),
        lambda: train(config.with_data_at(data=moved).override(["epochs=3"]), run, resume=True),
    )
    for use in uses:
        with pytest.warns(UserWarning, match="did not record its data; whether they have changed is not known"):
            use()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(config.with_data_at(data=moved).override(["epochs=4"]), run, resume=True)


# --- the same data elsewhere ----------------------------------------------------------------------------------------------


def test_a_run_finds_its_data_elsewhere(config: RunConfig, file: Path, run: Path, tmp_path: Path) -> None:
    own = evaluate_run(run)
    (tmp_path / "there").mkdir()
    moved = file.rename(tmp_path / "there" / file.name)
    with pytest.raises(
        ConfigError,
        match=rf"{file}, which is not there; say where it is now with LoadOptions\(data=...\) or LoadOptions\(root=...\)",
    ):
        evaluate_run(run)
    with pytest.raises(ConfigError, match=rf"was trained on {file}, which is not there"):
        train(config, run, resume=True)
    with pytest.raises(ValueError, match=r"there is no file .*nowhere\.npz"):
        evaluate_run(run, LoadOptions(data=tmp_path / "nowhere.npz"))
    for options in (LoadOptions(data=moved), LoadOptions(root=moved.parent)):
        assert evaluate_run(run, options) == own
    train(config.with_data_at(data=moved).override(["epochs=3"]), run, resume=True)
    assert RunFolder(run).config().with_data_at() == config.with_data_at(data=moved).override(["epochs=3"])


def test_what_is_given_wins_over_what_is_stored(file: Path, run: Path, tmp_path: Path) -> None:
    """Even if there is still a file at the stored path."""
    (tmp_path / "there").mkdir()
    other = save(tmp_path / "there" / file.name, **with_another_label())
    for options in (LoadOptions(data=other), LoadOptions(root=other.parent)):
        with pytest.raises(ChangedDataError, match="changed: labels"):
            evaluate_run(run, options)


def test_features_of_a_file_elsewhere(config: RunConfig, tmp_path: Path) -> None:
    features = tmp_path / "x.npy"
    np.save(features, np.random.default_rng(1).random((N, 4), np.float32))
    train(config.override([f"data.node_features={features}"]), tmp_path / "a")
    own = evaluate_run(tmp_path / "a")
    (tmp_path / "there").mkdir()
    moved = features.rename(tmp_path / "there" / features.name)
    with pytest.raises(ConfigError, match=r"with LoadOptions\(node_features=...\) or LoadOptions\(root=...\)"):
        evaluate_run(tmp_path / "a")
    for options in (LoadOptions(node_features=moved), LoadOptions(root=moved.parent)):
        assert evaluate_run(tmp_path / "a", options) == own


def test_another_set_is_another_run(config: RunConfig, run: Path) -> None:
    other = config.override(["data={name: 'synthetic:nodes=60', features: standard}"])
    with pytest.raises(RunFolderError, match=r"data.name was 'a path', is now 'synthetic:nodes=60'"):
        train(other, run, resume=True)


def test_the_digest_does_not_depend_on_paths_of_data(config: RunConfig, tmp_path: Path) -> None:
    moved = config.with_data_at(data=tmp_path / "elsewhere" / "h.npz")
    assert moved.digest == config.digest
    assert not config.differences(moved)
    assert config.differences(moved, paths=True).keys() == {"data.name"}


# --- the fingerprint ------------------------------------------------------------------------------------------------------


@pytest.fixture
def dataset() -> NodeDataset:
    return generate(300, degree=6, tasks=2)


def test_each_part_is_found_alone(dataset: NodeDataset) -> None:
    graph, split, before = dataset.graph, dataset.split, fingerprint(dataset)
    assert graph.edge_attr is not None
    edge = graph.edge_index.clone()
    edge[:, 0] = torch.tensor([edge[0, 0], (edge[1, 0] + 1) % 300])

    def on(**parts: torch.Tensor) -> NodeDataset:
        return replace(dataset, splits=(Split(**{**vars(split), **parts}),), split_index=0)

    flipped = dataset.y.clone()
    flipped[5, 1] = 1 - flipped[5, 1]
    shorter = on(train=split.train[1:])
    changed = {
        "graph": replace(dataset, graph=Graph.from_edge_index(edge, 300, edge_attr=graph.edge_attr)),
        "edge_features": replace(dataset, graph=graph.with_edge_attr(graph.edge_attr.nextafter(torch.tensor(9.0)))),
        "labels": replace(dataset, y=flipped),
        "train": shorter,
        "valid": on(valid=split.valid[1:]),
        "test": on(test=split.test[1:]),
    }
    if dataset.x is not None:
        changed["node_features"] = replace(dataset, x=dataset.x + 1)
    for part, other in changed.items():
        found = changed_parts(before, fingerprint(other))
        assert PARTS[part] in found
        assert part == "graph" or found == [PARTS[part]]


def test_the_order_of_nodes_in_a_split_and_the_number_of_threads_do_not_count(dataset: NodeDataset) -> None:
    before, threads = fingerprint(dataset), torch.get_num_threads()
    split = Split(**{name: nodes.flip(0) for name, nodes in vars(dataset.split).items()})
    torch.set_num_threads(3)
    try:
        assert fingerprint(replace(dataset, splits=(split,), split_index=0, name="other", source="there")) == before
    finally:
        torch.set_num_threads(threads)


def test_scaling_does_not_count(config: RunConfig) -> None:
    """The last digits of a sum depend on the machine."""
    raw = prepare(config.override(["data.features=raw"]))
    standard = prepare(config)
    assert raw.dataset.x is not None
    assert standard.dataset.x is not None
    assert not torch.equal(raw.dataset.x, standard.dataset.x)
    assert raw.fingerprint == standard.fingerprint
