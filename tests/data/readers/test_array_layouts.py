"""Layouts of arrays in the wild: Shchur's .npz, LINKX's .mat, filtered Wikipedia sets. The references are PyTorch Geometric's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.sparse
import torch
from torch_geometric.datasets import LINKXDataset
from torch_geometric.io import read_npz as read_npz_of_pyg

from revgnn.data import NodeDataset, load
from revgnn.data.readers import mat5
from revgnn.data.readers.mat5 import read_mat5
from tests.data.readers.graphs import refuse


def edge_index(dataset: NodeDataset) -> torch.Tensor:
    return torch.stack([dataset.graph.src, dataset.graph.dst]).long()


def in_order(edges: torch.Tensor) -> torch.Tensor:
    """Return the edges by destination, then by source."""
    return edges[:, np.lexsort((edges[0].numpy(), edges[1].numpy()))]


def assert_same_as_pyg(dataset: NodeDataset, data: Any) -> None:
    assert torch.equal(in_order(edge_index(dataset)), in_order(data.edge_index))
    assert dataset.x is not None
    assert torch.equal(dataset.x, data.x.float())
    assert torch.equal(dataset.y, data.y)


def test_a_real_file_of_shchur(real_data: Path) -> None:
    path = next((real_data / "amazon").rglob("*.npz"))
    dataset = load(str(path), cache=False)
    assert_same_as_pyg(dataset, read_npz_of_pyg(str(path)))
    named = load("computers", real_data, cache=False)
    assert torch.equal(edge_index(dataset), edge_index(named))
    assert torch.equal(dataset.split.train, named.split.train)


def shchur(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {"labels": rng.integers(0, 3, 30)}
    for kind, shape in (("adj", (30, 30)), ("attr", (30, 8))):
        matrix: Any = scipy.sparse.csr_array(rng.random(shape) * (rng.random(shape) < 0.2))
        arrays |= {f"{kind}_{part}": getattr(matrix, part) for part in ("data", "indices", "indptr", "shape")}
    return arrays | (changes or {})


def test_shchurs_layout_with_both_prefixes_and_with_pickled_names(tmp_path: Path) -> None:
    names = np.array(["a", {"b": 1}], dtype=object)  # such as idx_to_class: never read
    np.savez(tmp_path / "plain.npz", **shchur({"idx_to_class": names}), allow_pickle=True)
    np.savez(
        tmp_path / "later.npz",
        **{key.replace("adj_", "adj_matrix.").replace("attr_", "attr_matrix."): value for key, value in shchur().items()},
    )
    plain, later = (load(str(tmp_path / name)) for name in ("plain.npz", "later.npz"))
    np.savez(tmp_path / "reference.npz", **shchur())
    assert_same_as_pyg(plain, read_npz_of_pyg(str(tmp_path / "reference.npz")))
    assert torch.equal(edge_index(plain), edge_index(later))
    assert plain.x is not None
    assert later.x is not None
    assert torch.equal(plain.x, later.x)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adj_indices": np.full(180, 99)}, "damaged matrix adj"),
        ({"attr_shape": np.array([30, 2**40])}, "too many for a dense matrix|damaged matrix attr"),
        ({"labels": np.zeros(29, int)}, "edge|x must be"),
        ({"labels": np.array([object()] * 30)}, "objects are never unpickled"),
        ({"adj_shape": np.array([2**62, 2**62])}, "damaged matrix adj"),
    ],
)
def test_damaged_shchur(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "a.npz", **shchur(changes))
    with pytest.raises(ValueError, match=message):
        load(str(tmp_path / "a.npz"))


def test_a_filtered_wikipedia_set(real_data: Path) -> None:
    path = real_data / "wiki_filtered/squirrel_filtered.npz"
    dataset = load(str(path), cache=False)
    with np.load(path) as z:
        assert np.array_equal(dataset.y.numpy(), z["node_labels"])
        assert dataset.x is not None
        assert np.array_equal(dataset.x.numpy(), z["node_features"].astype(np.float32))
        both = np.concatenate([z["edges"], z["edges"][:, ::-1]])
        assert np.array_equal(in_order(edge_index(dataset)).numpy().T, both[np.lexsort((both[:, 0], both[:, 1]))][_first(both)])
        assert len(dataset.splits) == len(z["train_masks"])
        assert np.array_equal(np.flatnonzero(z["val_masks"][0]), dataset.split.valid.numpy())


def _first(both: np.ndarray) -> np.ndarray:
    """Return which of the edges, by destination and source, are not the same as the one before."""
    ordered = both[np.lexsort((both[:, 0], both[:, 1]))]
    return np.concatenate([[True], (ordered[1:] != ordered[:-1]).any(axis=1)])


# --- LINKX --------------------------------------------------------------------------------------------------------------


def facebook(num_nodes: int = 60, seed: int = 0) -> dict[str, Any]:
    """A file as those of Facebook100: 7 columns, of which column 1 is the gender, 0 where it is missing."""
    rng = np.random.default_rng(seed)
    upper: Any = scipy.sparse.coo_array(np.triu(rng.random((num_nodes, num_nodes)) < 0.1, 1).astype(np.float64))
    info = rng.integers(0, [3, 3, 20, 20, 8, 6, 40], (num_nodes, 7)).astype(np.uint16)
    return {"A": scipy.sparse.csc_matrix(upper + upper.T), "local_info": info}


def test_facebook100_is_read_as_by_pytorch_geometric(tmp_path: Path) -> None:
    raw = tmp_path / "johnshopkins55/raw"
    raw.mkdir(parents=True)
    path = raw / next(iter(LINKXDataset.datasets["johnshopkins55"]))
    scipy.io.savemat(path, facebook(), do_compression=True)
    reference: Any = LINKXDataset(str(tmp_path), "johnshopkins55")[0]
    dataset = load(str(path))
    assert_same_as_pyg(dataset, reference)
    assert dataset.task == "binary"
    assert (dataset.y == -1).any()
    by_class = load("pyg:LINKXDataset:johnshopkins55", tmp_path)
    assert_same_as_pyg(by_class, reference)


def test_genius_is_read_as_by_pytorch_geometric(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    raw = tmp_path / "genius/raw"
    raw.mkdir(parents=True)
    arrays = {
        "edge_index": rng.integers(0, 50, (2, 200)),
        "node_feat": rng.normal(size=(50, 4)),
        "label": rng.integers(0, 2, (50, 1)),
    }
    path = raw / next(iter(LINKXDataset.datasets["genius"]))
    scipy.io.savemat(path, arrays)
    reference: Any = LINKXDataset(str(tmp_path), "genius")[0]
    assert_same_as_pyg(load(str(path)), reference)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"B": np.eye(3)}, "holds B; expected A and local_info"),
        ({**facebook(), "local_info": np.zeros((59, 7))}, "does not fit together"),
        ({**facebook(), "A": np.eye(60)}, "does not fit together"),
        ({"edge_index": np.array([[0, 9], [1, 2]]), "node_feat": np.eye(3), "label": np.zeros(3)}, "edge 1 has source 9"),
    ],
)
def test_damaged_mat(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    scipy.io.savemat(tmp_path / "a.mat", arrays)
    with pytest.raises(ValueError, match=message):
        load(str(tmp_path / "a.mat"))


@pytest.mark.parametrize("compress", [False, True])
def test_mat_files_hold_what_scipy_reads(tmp_path: Path, compress: bool) -> None:
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {
        f"a_{dtype}": rng.integers(0, 100, (5, 3)).astype(dtype) for dtype in ("u1", "i2", "i4", "i8", "f4", "f8")
    }
    arrays |= {"small": np.array([[7]]), "empty": np.zeros((0, 4)), "deep": rng.random((2, 3, 4)), "text": "abc", "cell": {"a": 1}}
    arrays |= {"sparse": facebook()["A"], "none": scipy.sparse.csc_matrix((4, 4))}
    scipy.io.savemat(tmp_path / "a.mat", arrays, do_compression=compress)
    names, found = read_mat5(tmp_path / "a.mat", set(arrays) - {"text", "cell"})
    expected = scipy.io.loadmat(tmp_path / "a.mat")
    assert names == list(arrays)
    for name, value in found.items():
        other = expected[name]
        assert value.dtype == other.dtype
        assert value.shape == other.shape
        assert (abs(value - other).nnz == 0) if scipy.sparse.issparse(value) else np.array_equal(value, other)
    assert len(found) == len(arrays) - 2


def test_a_mat_file_cut_off(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", facebook())
    whole = (tmp_path / "a.mat").read_bytes()
    for length in (0, 64, 128, 140, len(whole) // 2, len(whole) - 3):
        (tmp_path / "b.mat").write_bytes(whole[:length])
        assert "b.mat" in refuse(tmp_path / "b.mat")


def test_matlab_7_3_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n" + bytes(100))
    assert "MATLAB file" in refuse(tmp_path / "a.mat")


def test_a_variable_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"A": np.zeros((300, 300))}, do_compression=True)
    read_mat5(tmp_path / "a.mat", {"A"})
    monkeypatch.setattr(mat5, "MOST_UNPACKED", 100_000)
    with pytest.raises(ValueError, match="unpacks to more than"):
        read_mat5(tmp_path / "a.mat", {"A"})
