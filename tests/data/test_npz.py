"""Users' own npz files: all names of the arrays, writing and reading back, and an error for every bad array."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
import torch

from revgnn.data import NodeDataset, generate, load, read_npz, save_npz

FIELDS = {
    "edge_index": np.array([[0, 1, 2, 3], [1, 2, 3, 0]]),
    "y": np.array([0, 1, 2, 1, 0]),
    "x": np.arange(10.0).reshape(5, 2),
    "train_mask": np.array([1, 1, 0, 0, 0], bool),
    "valid_mask": np.array([0, 0, 1, 0, 0], bool),
    "test_mask": np.array([0, 0, 0, 1, 1], bool),
}


def read(tmp_path, without: tuple[str, ...] = (), **changes) -> NodeDataset:
    path = tmp_path / "mine.npz"
    fields = {key: value for key, value in (FIELDS | changes).items() if key not in without}
    np.savez(path, **fields)
    return read_npz(path)


def test_the_documented_names(tmp_path):
    data = read(tmp_path)
    assert (data.name, data.task, data.num_outputs, data.metric) == ("mine", "multiclass", 3, "accuracy")
    assert data.graph.edge_index.tolist() == [[3, 0, 1, 2], [0, 1, 2, 3]]
    assert data.x.dtype == torch.float32
    assert [part.tolist() for part in (data.split.train, data.split.valid, data.split.test)] == [[0, 1], [2], [3, 4]]


def test_other_names_and_shapes(tmp_path):
    data = read(
        tmp_path,
        without=("edge_index", "y", "x", "train_mask", "valid_mask", "test_mask"),
        edges=np.array([[0, 1], [1, 0], [2, 3]], np.uint32),
        edge_feat=np.array([1.0, 3.0, 5.0]),
        node_labels=np.array([0.0, 1.0, np.nan, 1.0]),
        node_species=np.array([7, 7, 9, 7]),
        train_idx=np.array([1, 0]),
        val_idx=np.array([3]),
        license="CC0",
        comment="ignored",
    )
    assert data.graph.edge_index.tolist() == [[1, 0, 3, 2], [0, 1, 2, 3]]  # undirected, each once
    assert data.graph.edge_attr.tolist() == [[2.0], [2.0], [5.0], [5.0]]  # doubled edges: the mean
    assert data.x.tolist() == [[2.0], [2.0], [5.0], [5.0]]
    assert (data.task, data.metric, data.y.tolist()) == ("binary", "rocauc", [0, 1, -1, 1])
    assert (data.num_species, data.species.tolist(), data.licence) == (2, [0, 0, 1, 0], "CC0")
    assert (data.split.train.tolist(), data.split.test.tolist()) == ([0, 1], [])


@pytest.mark.parametrize("transposed", [False, True])
def test_several_splits(tmp_path, transposed):
    masks = {
        f"{part}_mask": np.stack([FIELDS[f"{part}_mask"], np.roll(FIELDS[f"{part}_mask"], 1)])
        for part in ("train", "valid", "test")
    }
    data = read(tmp_path, **{key: mask.T if transposed else mask for key, mask in masks.items()})
    assert [split.train.tolist() for split in data.splits] == [[0, 1], [1, 2]]


def test_without_splits_there_are_ten_random_ones(tmp_path):
    y = np.tile([0, 1, -1], 100)
    edges = np.zeros((2, 0), np.int64)
    data = read(tmp_path, without=("train_mask", "valid_mask", "test_mask"), y=y, x=np.ones((300, 1)), edge_index=edges)
    assert len(data.splits) == 10
    sizes = [len(part) for part in (data.split.train, data.split.valid, data.split.test)]
    assert sum(sizes) == 200
    assert [round(size / 40) for size in sizes] == [3, 1, 1]
    assert bool((data.y[data.split.train] >= 0).all())
    assert data.splits[0].train.tolist() != data.splits[1].train.tolist()


def test_random_splits_do_not_move_with_a_label(tmp_path):
    y = np.tile([0, 1], 150)
    changes = {"x": np.ones((300, 1)), "edge_index": np.zeros((2, 0), np.int64)}
    masks = ("train_mask", "valid_mask", "test_mask")
    before = read(tmp_path, without=masks, y=y, **changes).split
    removed = int(before.train[3])
    y[removed] = -1
    after = read(tmp_path, without=masks, y=y, **changes).split
    assert after.train.tolist() == [node for node in before.train.tolist() if node != removed]
    assert (after.valid.tolist(), after.test.tolist()) == (before.valid.tolist(), before.test.tolist())


@pytest.mark.parametrize(
    ("name", "meant"), [("feat", "x"), ("X", "x"), ("attr_matrix", "x"), ("idx_train", "train_idx"), ("edge_weight", "edge_attr")]
)
def test_an_array_that_nothing_reads(tmp_path, name, meant):
    with pytest.raises(ValueError, match=f"array '{name}'; did you mean '{meant}'"):
        read(tmp_path, **{name: np.ones((5, 2))})
    with pytest.raises(ValueError, match="array 'positions'; known are edge_index"):
        read(tmp_path, positions=np.ones((5, 2)))
    np.savez(tmp_path / "more.npz", positions=np.ones((5, 2)), gene_names=np.array(list("abcde")), **FIELDS)
    assert load("more.npz", tmp_path, ignore_unknown=True).in_channels == 2
    assert load("more.npz", tmp_path, ignore_unknown=True, cache=False).in_channels == 2


@pytest.mark.parametrize("labels", [[0, 1, 65_535, 1, 0], [1990, 2003, 2020, 2010, 2001], [10**9, 10**9 + 7, 10**9 + 9, 0, 1]])
def test_labels_that_are_no_classes(tmp_path, labels):
    with pytest.raises(ValueError, match=r"of which only [35] occur. Are they classes"):
        read(tmp_path, y=np.array(labels))


def test_empty_classes_are_told(tmp_path):
    with pytest.warns(UserWarning, match="1 of 4 classes occur at no node"):
        assert read(tmp_path, num_classes=4).num_outputs == 4


def test_only_the_split_in_use_is_judged(tmp_path):
    masks = {part: np.stack([FIELDS[part], FIELDS[part]]) for part in ("train_mask", "valid_mask", "test_mask")}
    masks["train_mask"][0] = [1, 0, 0, 0, 0]  # one class only
    path = tmp_path / "mine.npz"
    np.savez(path, **FIELDS | masks)
    assert load(str(path), split=1).split.train.tolist() == [0, 1]
    with pytest.raises(ValueError, match="split 0: every training node has label 0"):
        load(str(path))


@pytest.mark.parametrize("name", ["edge_index", "x", "y", "edge_attr"])
def test_any_byte_order_and_layout(tmp_path, name):
    fields = FIELDS | {"edge_attr": np.arange(8.0).reshape(4, 2)}
    expected = read(tmp_path, **fields)
    array = fields[name]
    other = read(tmp_path, **fields | {name: np.asfortranarray(array.astype(array.dtype.newbyteorder(">")))})
    assert_same(expected, other)
    assert other.x.is_contiguous()


def assert_same(one: NodeDataset, other: NodeDataset) -> None:
    for field in ("name", "task", "num_outputs", "metric", "num_species", "task_names", "source", "licence"):
        assert getattr(one, field) == getattr(other, field)
    tensors = [(d.graph.indptr, d.graph.src, d.graph.edge_attr, d.x, d.species, d.y) for d in (one, other)]
    for a, b in zip(*tensors, strict=True):
        assert (a is None and b is None) or torch.equal(a.nan_to_num(-7.0), b.nan_to_num(-7.0))
    assert len(one.splits) == len(other.splits)
    for a, b in zip(one.splits, other.splits, strict=True):
        for part in ("train", "valid", "test"):
            assert torch.equal(getattr(a, part).sort().values, getattr(b, part).sort().values)


def test_a_saved_set_is_read_back(tmp_path):
    data = generate(300)
    save_npz(data, tmp_path / "out.npz")
    assert_same(data, read_npz(tmp_path / "out.npz"))
    assert [p.name for p in tmp_path.iterdir()] == ["out.npz"]


@pytest.mark.parametrize("name", ["cora", "tolokers", "ogbn-humanppi", "ppi/ppi_node2vec.npz"])
def test_a_saved_real_set_is_read_back(real_data, tmp_path, name):
    data = load(name, real_data, cache=False)
    save_npz(data, tmp_path / "out.npz")
    assert_same(data, load("out.npz", tmp_path, cache=False))


def test_the_two_forms_of_human_ppi_agree(real_data):
    one, other = load("ppi/human_ppi_go.npz", real_data, cache=False), load("ogbn-humanppi", real_data, cache=False)
    assert torch.equal(one.graph.indptr, other.graph.indptr)
    assert torch.equal(one.y, other.y)
    assert torch.allclose(one.x, other.x, rtol=1e-5)


def test_a_failed_save_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "out.npz"
    save_npz(generate(300), path)
    before = path.read_bytes()

    def fails(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fails)
    with pytest.raises(OSError, match="disk full"):
        save_npz(generate(300, seed=1), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["out.npz"]


@pytest.mark.parametrize(
    ("without", "changes", "message"),
    [
        (("y",), {}, r"no labels; it needs an array y \(or labels"),
        (("edge_index",), {}, "one array of edges is needed"),
        ((), {"edges": np.zeros((0, 2), int)}, "one array of edges is needed"),
        (("y",), {"labls": FIELDS["y"]}, "an array 'labls'; did you mean 'labels'"),
        ((), {"edge_atr": np.ones(4)}, "did you mean 'edge_attr'"),
        ((), {"labels": FIELDS["y"]}, "y and labels, which mean the same"),
        ((), {"x": np.array([{}] * 5, dtype=object)}, "objects are never unpickled"),
        ((), {"x": np.array(["a"] * 5)}, "x must be numbers, got <U1"),
        ((), {"x": np.ones((4, 2))}, r"x must be float32 of shape \(5, F\)"),
        ((), {"x": np.full((5, 2), np.inf)}, "feature 0 of node 0 is inf"),
        ((), {"edge_index": FIELDS["edge_index"].T}, r"edge_index must have shape \(2, E\), got \(4, 2\); transpose it"),
        ((), {"edge_index": FIELDS["edge_index"] + 2}, "edge 3 has source 5; with 5 nodes"),
        ((), {"edge_index": FIELDS["edge_index"] - 1}, "edge 0 has source -1"),
        ((), {"edge_index": FIELDS["edge_index"] + 0.5}, "edge_index must be integers, got float64"),
        ((), {"edge_attr": np.ones((3, 2))}, r"edge features must be numbers of shape \(4, K\)"),
        ((), {"edge_attr": np.array([1, 2, np.nan, 4])}, r"feature 0 of edge 2 \(2 -> 3\) is nan"),
        ((), {"y": np.array([0, 1, 2.5, 1, 0]), "task": "multiclass"}, "label 2.5 is not a class"),
        ((), {"y": FIELDS["y"][None]}, r"y has shape \(1, 5\), one row"),
        ((), {"x": np.full((5, 2), 1e300)}, r"x\[0, 0\] is 1e\+300, which is too large for float32"),
        ((), {"edge_attr": np.full((4, 2), -1e300)}, "too large for float32"),
        ((), {"num_classes": np.inf}, "num_classes must be a single whole number"),
        ((), {"num_classes": np.array([3, 4])}, "num_classes must be a single whole number"),
        ((), {"num_classes": 1e300}, "num_classes must be a single whole number"),
        ((), {"name": np.ones((3, 3))}, r"name must be a single string, got float64 of shape \(3, 3\)"),
        ((), {"task": np.array(["binary", "multiclass"])}, "task must be a single string"),
        ((), {"task": "clustering"}, "task must be one of"),
        ((), {"metric": "f2"}, "metric must be one of"),
        ((), {"num_classes": 2}, "node 2 has label 2; with 2 classes"),
        ((), {"train_mask": np.zeros(5, bool)}, "no training nodes"),
        (("train_mask",), {}, "valid and test nodes but no training nodes"),
        ((), {"train_mask": np.array([1, 1, 0, 0, 0])}, "if it is a mask of 0 and 1, save it as bool"),
        ((), {"train_mask": np.ones((3, 4), bool)}, "train must be bool of shape"),
        ((), {"train_mask": np.ones((2, 5), bool)}, "the same number of splits"),
        ((), {"test_mask": FIELDS["train_mask"]}, "node 0 is in train and test"),
    ],
)
def test_refuses(tmp_path, without, changes, message):
    with pytest.raises(ValueError, match=message) as error:
        read(tmp_path, without, **changes)
    assert "mine.npz" in str(error.value)


def test_damaged_and_missing_files(tmp_path):
    path = tmp_path / "mine.npz"
    with pytest.raises(ValueError, match="there is no file"):
        read_npz(path)
    path.write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(ValueError, match="cannot be read as an npz file"):
        read_npz(path)
    np.save(tmp_path / "one.npy", np.ones(3))
    (tmp_path / "one.npy").rename(path)
    with pytest.raises(ValueError, match="holds a single array"):
        read_npz(path)
    np.savez(path, **FIELDS)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("note.txt", "text")
    with pytest.raises(ValueError, match=r"'note.txt' in .* is not an array"):
        read_npz(path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("y.npy", archive.read("x.npy"))
    with pytest.raises(ValueError, match="more than one array named 'y'"):
        read_npz(path)
    np.savez(path, **FIELDS)
    blob = bytearray(path.read_bytes())
    blob[200] ^= 0xFF
    path.write_bytes(blob)
    with pytest.raises(ValueError, match="cannot be read"):
        read_npz(path)
