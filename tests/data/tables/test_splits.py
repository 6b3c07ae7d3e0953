"""Splits by column, at random, by class and by time."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch

from revgnn.data.dataset import Split
from revgnn.data.tables.splits import PARTS, bad_parts, split_at_random, split_by_column, split_by_time

RATIOS = (0.6, 0.2, 0.2)


def parts(split: Split) -> list[list[int]]:
    return [getattr(split, part).tolist() for part in PARTS]


def part_of(split: Split, n: int) -> np.ndarray:
    out = np.full(n, -1)
    for number, part in enumerate(PARTS):
        out[getattr(split, part)] = number
    return out


def test_by_column() -> None:
    column = pa.chunked_array([["train", "Training", "val", "dev", "TEST", "", "unused", "test"]])
    labelled = np.array([True] * 7 + [False])
    (split,) = split_by_column(column, labelled)
    assert parts(split) == [[0, 1], [2, 3], [4]]
    assert bad_parts(pa.chunked_array([["train", "x", ""]])).tolist() == [False, True, False]


def test_a_random_split_has_the_ratios() -> None:
    y = torch.arange(1000) % 3
    splits = split_at_random(y, np.ones(1000, bool), (0.7, 0.1, 0.2), 3, stratify=False)
    assert [len(part) for part in parts(splits[2])] == [700, 100, 200]
    assert parts(splits[0]) != parts(splits[1])


def test_a_label_moves_no_other_node() -> None:
    y = torch.arange(1000) % 3
    (before,) = split_at_random(y, np.ones(1000, bool), RATIOS, 1, stratify=False)
    changed, labelled = y.clone(), np.ones(1000, bool)
    changed[17], labelled[18] = 2, False
    (after,) = split_at_random(changed, labelled, RATIOS, 1, stratify=False)
    moved = np.flatnonzero(part_of(before, 1000) != part_of(after, 1000))
    assert moved.tolist() == [18]  # without a label it is in no part


def test_each_class_has_the_ratios() -> None:
    y = torch.tensor([0] * 900 + [1] * 90 + [2] * 10)
    (split,) = split_at_random(y, np.ones(1000, bool), RATIOS, 1, stratify=True)
    for cls, count in ((0, 900), (1, 90), (2, 10)):
        assert [int((y[getattr(split, part)] == cls).sum()) for part in PARTS] == [0.6 * count, 0.2 * count, 0.2 * count]


def test_stratified_a_label_moves_only_nodes_at_the_cuts() -> None:
    y = torch.arange(1000) % 4
    (before,) = split_at_random(y, np.ones(1000, bool), RATIOS, 1, stratify=True)
    for node in (0, 5, 77, 999):
        changed = y.clone()
        changed[node] = (y[node] + 1) % 4
        (after,) = split_at_random(changed, np.ones(1000, bool), RATIOS, 1, stratify=True)
        moved = np.flatnonzero(part_of(before, 1000) != part_of(after, 1000))
        assert len(set(moved) - {node}) <= 4  # two cuts in each of two classes


def test_stratify_needs_one_class_a_node() -> None:
    with pytest.raises(ValueError, match="stratify needs one class a node"):
        split_at_random(torch.zeros(4, 2), np.ones(4, bool), RATIOS, 1, stratify=True)


def test_by_time() -> None:
    times = np.array([5.0, 1.0, np.nan, 3.0, 2.0, 4.0])
    labelled = np.array([True, True, True, True, False, True])
    (split,) = split_by_time(times, labelled, RATIOS)
    assert parts(split) == [[1, 3], [5], [0]]  # 4 is early, but has no label
