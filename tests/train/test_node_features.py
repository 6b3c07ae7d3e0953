"""Node features: read from a file, and scaled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from revgnn.train.config import DataConfig, RunConfig
from revgnn.train.config.errors import ConfigError
from revgnn.train.datasets import features_checksum, load_dataset, read_features, scaled
from revgnn.train.run.changed_data import ChangedDataError
from revgnn.train.run.folder import RunFolderError
from revgnn.train.run.loop import train
from revgnn.train.run.tensor_file import CheckpointError, read_tensors, write_tensors

NAME, N = "synthetic:nodes=240,degree=8,tasks=3", 240


def save(path: Path, array: np.ndarray) -> str:
    np.save(path, array)
    return str(path)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_every_kind_of_float_is_read(tmp_path: Path, dtype: str, order: str) -> None:
    array = np.random.default_rng(0).standard_normal((N, 5)).astype(dtype, order=order)
    data = load_dataset(DataConfig(name=NAME, node_features=save(tmp_path / "x.npy", array)))
    assert data.x is not None
    assert data.x.dtype == torch.float32
    assert np.array_equal(data.x.numpy(), array.astype(np.float32))
    assert data.in_channels == 5


def test_a_float32_file_is_mapped_and_not_changed(tmp_path: Path) -> None:
    array = np.ones((N, 4), np.float32)
    path = Path(save(tmp_path / "x.npy", array))
    x = read_features(path, N)
    x.mul_(2)
    assert np.array_equal(np.load(path), array)


def test_the_features_of_the_data_set_can_be_kept(tmp_path: Path) -> None:
    array = np.random.default_rng(0).random((N, 5), np.float32)
    own = load_dataset(DataConfig(name=NAME)).x
    data = load_dataset(DataConfig(name=NAME, node_features=save(tmp_path / "x.npy", array), keep_features=True))
    assert own is not None
    assert torch.equal(data.x, torch.cat([own, torch.from_numpy(array)], 1))
    standard = load_dataset(DataConfig(name=NAME, node_features=str(tmp_path / "x.npy"), keep_features=True, features="standard")).x
    assert standard is not None
    torch.testing.assert_close(standard.mean(0), torch.zeros(13), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.ones((N - 1, 3), np.float32), r"holds float32 of shape \(239, 3\); expected .* of shape \(240, F\)"),
        (np.ones(N, np.float32), r"holds float32 of shape \(240,\)"),
        (np.ones((N, 3), np.int64), "holds int64"),
        (np.full((N, 3), np.nan, np.float32), "feature 0 of node 0 is nan"),
        (np.array([[{}]] * N, dtype=object), "cannot be read as an .* Python objects"),
    ],
    ids=["nodes", "vector", "integers", "nan", "objects"],
)
def test_arrays_that_are_refused(tmp_path: Path, array: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_dataset(DataConfig(name=NAME, node_features=save(tmp_path / "x.npy", array)))


def test_files_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="which does not exist"):
        read_features(tmp_path / "x.npy", N)
    (tmp_path / "x.npy").write_bytes(b"not an array")
    with pytest.raises(ConfigError, match="cannot be read as an"):
        read_features(tmp_path / "x.npy", N)
    (tmp_path / "x.npy").write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot be read as an"):
        read_features(tmp_path / "x.npy", N)
    np.savez(tmp_path / "x.npz", x=np.ones((N, 3)))
    with pytest.raises(ConfigError, match="an archive of arrays"):
        read_features(tmp_path / "x.npz", N)


def test_a_run_is_not_resumed_with_other_features(config: RunConfig, tmp_path: Path) -> None:
    array = np.random.default_rng(0).random((N, 5), np.float32)
    path = save(tmp_path / "x.npy", array)
    run = config.override([f"data.node_features={path}", "epochs=1"])
    train(run, tmp_path / "a")
    train(run.override(["epochs=2"]), tmp_path / "a", resume=True)
    save(tmp_path / "x.npy", array + 1)
    with pytest.raises(ChangedDataError, match="changed: node features"):
        train(run.override(["epochs=3"]), tmp_path / "a", resume=True)
    with pytest.raises(RunFolderError, match=r"data\.node_features was 'a path', is now None"):
        train(run.override(["data.node_features=null"]), tmp_path / "a", resume=True)
    moved = run.override([f"data.node_features={save(tmp_path / 'y.npy', array)}", "epochs=3"])
    train(moved, tmp_path / "a", resume=True)  # the content counts, not the path


def test_a_state_of_earlier_versions_has_a_checksum_of_the_file(config: RunConfig, tmp_path: Path) -> None:
    array = np.random.default_rng(0).random((N, 5), np.float32)
    run = config.override([f"data.node_features={save(tmp_path / 'x.npy', array)}", "epochs=1"])
    train(run, tmp_path / "a")
    assert run.data is not None
    tensors, note = read_tensors(tmp_path / "a" / "last.safetensors")
    del note["data"]
    write_tensors(tmp_path / "a" / "last.safetensors", tensors, {**note, "features": features_checksum(run.data)})
    with pytest.warns(UserWarning, match="did not record its data"):
        train(run.override(["epochs=2"]), tmp_path / "a", resume=True)
    write_tensors(tmp_path / "a" / "last.safetensors", tensors, {**note, "features": 1})
    with pytest.raises(CheckpointError, match="has another content than when this run's state was saved"):
        train(run.override(["epochs=3"]), tmp_path / "a", resume=True)


def test_features_can_be_scaled() -> None:
    x = torch.tensor([[1.0, 5.0, 0.0], [3.0, 5.0, 0.0], [0.0, 0.0, 0.0], [4.0, 10.0, 0.0]])
    assert scaled(x, "raw") is x
    standard = scaled(x, "standard")
    torch.testing.assert_close(standard.mean(0), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(standard.std(0, correction=0), torch.tensor([1.0, 1.0, 0.0]))
    torch.testing.assert_close(scaled(x, "rows").sum(1), torch.tensor([1.0, 1.0, 0.0, 1.0]))
