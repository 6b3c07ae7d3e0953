"""`data.split_file`: splits from a file instead of the data set's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from revgnn.data.fingerprint import fingerprint
from revgnn.train import sweep
from revgnn.train.config import DataConfig, RunConfig
from revgnn.train.config.errors import ConfigError
from revgnn.train.datasets import all_splits, load_dataset
from revgnn.train.run.changed_data import ChangedDataError
from revgnn.train.run.loop import train

NAME, N = "synthetic:nodes=240,degree=8,tasks=3", 240
ORDER = np.random.default_rng(0).permutation(N)
PARTS = {"train": ORDER[:100], "valid": ORDER[100:150], "test": ORDER[150:]}


def save(path: Path, **arrays: np.ndarray) -> str:
    np.savez(path, **arrays)
    return str(path)


def masks(*orders: np.ndarray) -> dict[str, np.ndarray]:
    """Masks (S, N) of splits of 100, 50 and 90 nodes."""
    found = {"train_mask": (0, 100), "val_mask": (100, 150), "test_mask": (150, N)}
    return {name: np.stack([np.isin(np.arange(N), order[a:b]) for order in orders]) for name, (a, b) in found.items()}


def test_a_data_set_with_its_own_splits_in_a_file_is_the_same(tmp_path: Path, copy_of_real_data) -> None:
    root = str(copy_of_real_data("heterophilous/tolokers"))
    own = [load_dataset(DataConfig(name="tolokers", root=root, split=k)) for k in range(10)]
    whole = np.arange(own[0].num_nodes)
    named = {part: np.stack([np.isin(whole, getattr(data.split, part)) for data in own], axis=1) for part in PARTS}
    file = save(tmp_path / "splits.npz", **named)
    config = DataConfig(name="tolokers", root=root, split_file=file)
    assert all_splits(config) == list(range(10))
    for k in (0, 7):
        assert fingerprint(load_dataset(config.model_copy(update={"split": k}))) == fingerprint(own[k])


@pytest.mark.parametrize("transposed", [False, True])
def test_masks_and_numbers_name_the_same_nodes(tmp_path: Path, *, transposed: bool) -> None:
    other = np.random.default_rng(1).permutation(N)
    given = masks(other, ORDER)
    by_mask = save(tmp_path / "masks.npz", **{name: mask.T if transposed else mask for name, mask in given.items()})
    by_number = save(tmp_path / "numbers.npz", **PARTS)
    a = load_dataset(DataConfig(name=NAME, split_file=by_mask, split=1)).split
    b = load_dataset(DataConfig(name=NAME, split_file=by_number)).split
    for part, nodes in PARTS.items():
        expected = torch.from_numpy(np.sort(nodes))
        assert torch.equal(getattr(a, part), expected)
        assert torch.equal(getattr(b, part), expected)


def test_a_part_may_be_missing(tmp_path: Path) -> None:
    file = save(tmp_path / "s.npz", train=PARTS["train"], valid=PARTS["valid"])
    assert load_dataset(DataConfig(name=NAME, split_file=file)).split.test.numel() == 0


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"valid": PARTS["valid"]}, "no training nodes"),
        ({"train": PARTS["train"], "test": PARTS["train"]}, "in train and test"),
        ({"train": np.array([0, N])}, "train names node 240, but there are 240 nodes"),
        ({"train": np.array([-1, 3])}, "train names node -1"),
        ({"train": np.array([3, 3])}, "more than once"),
        ({"train": np.ones((3, 5), bool)}, r"got bool of shape \(3, 5\)"),
        ({"train": PARTS["train"].astype(float)}, "got float64"),
        ({**PARTS, "x": np.ones((N, 2))}, "holds x beside splits"),
        ({**PARTS, "idx_train": PARTS["train"]}, "holds an array 'idx_train'"),
        ({"train": np.array([1, None])}, "objects"),
        (masks(ORDER) | {"test_mask": masks(ORDER, ORDER)["test_mask"]}, "same number of splits"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_files_that_do_not_fit_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    file = save(tmp_path / "s.npz", **arrays)
    with pytest.raises(ConfigError, match=message):
        load_dataset(DataConfig(name=NAME, split_file=file))


def test_a_missing_file_and_a_split_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.split_file"):
        load_dataset(DataConfig(name=NAME, split_file=str(tmp_path / "none.npz")))
    file = save(tmp_path / "s.npz", **PARTS)
    for split, message in ((1, "has 1 split"), ("species", "have numbers, got 'species'")):
        with pytest.raises(ConfigError, match=message):
            load_dataset(DataConfig(name=NAME, split_file=file, split=split))


def test_tables_have_a_column_for_it(tmp_path: Path) -> None:
    (tmp_path / "nodes.csv").write_text("id,label,x\n" + "".join(f"{i},{'ab'[i % 2]},{i}\n" for i in range(40)))
    (tmp_path / "edges.csv").write_text("source,target\n" + "".join(f"{i},{(i * 7) % 40}\n" for i in range(40)))
    file = save(tmp_path / "s.npz", train=np.arange(20), valid=np.arange(20, 30), test=np.arange(30, 40))
    with pytest.raises(ConfigError, match="not for tables"):
        load_dataset(DataConfig(name=str(tmp_path), labels=("label",), split_file=file))


def test_a_run_knows_its_nodes_and_finds_a_file_that_moved(config: RunConfig, tmp_path: Path) -> None:
    file = Path(save(tmp_path / "s.npz", **PARTS))
    assert config.data is not None
    run = config.replace({"data.name": NAME, "data.split_file": str(file), "epochs": 1})
    result = sweep(run, tmp_path / "runs", splits=[0], seeds=[0])["results"][0]
    folder = tmp_path / "runs" / result["folder"]
    (tmp_path / "elsewhere").mkdir()
    file.rename(tmp_path / "elsewhere" / "s.npz")
    moved = RunConfig.from_yaml(folder / "config.yaml").with_data_at(root=tmp_path / "elsewhere")
    assert moved.data is not None
    assert moved.data.split_file == str(tmp_path / "elsewhere" / "s.npz")
    assert not moved.differences(run)
    np.savez(tmp_path / "elsewhere" / "s.npz", **{**PARTS, "train": PARTS["train"][1:]})
    with pytest.raises(ChangedDataError, match="training nodes"):
        train(moved.replace({"epochs": 2}), folder, resume=True)
