"""Splits of the nodes: named by a column, drawn by ratios, or cut by time."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from revgnn.data.dataset import Split
from revgnn.data.splits import random_splits
from revgnn.data.tables.arrow import Column, pc, to_bool
from revgnn.data.tables.columns import text_of
from revgnn.data.tables.kinds import NO_PART, SPLIT_WORDS

PARTS = ("train", "valid", "test")


def split_by_column(column: Column, labelled: np.ndarray) -> tuple[Split, ...]:
    """Return the one split that a column names. Nodes without a label are left out."""
    text = pc.utf8_lower(text_of(column))
    return (_split(*(to_bool(pc.is_in(text, _words(part))) & labelled for part in PARTS)),)


def bad_parts(column: Column) -> np.ndarray:
    """Return which cells of a split column name no part, bool (N,)."""
    text = pc.utf8_lower(text_of(column))
    known = pc.is_in(text, _words(*PARTS, *NO_PART))
    return to_bool(pc.is_valid(text)) & ~to_bool(known)


def split_by_time(times: np.ndarray, labelled: np.ndarray, ratios: tuple[float, float, float]) -> tuple[Split, ...]:
    """Return the one split by time: the earliest nodes are for training. Nodes of one time stay in their order.

    Args:
        times: float64 (N,); nodes with NaN are in no part.
        labelled: bool (N,); nodes without a label are left out after the cut, so that a label moves no other node.
    """
    order = np.argsort(times, kind="stable")[: int((~np.isnan(times)).sum())]
    part = np.full(len(times), -1)
    part[order] = _part_of_rank(np.arange(len(order)), np.full(len(order), len(order)), ratios)
    return (_split(*((part == number) & labelled for number in range(3))),)


def split_at_random(
    y: Tensor, labelled: np.ndarray, ratios: tuple[float, float, float], count: int, *, stratify: bool
) -> tuple[Split, ...]:
    """Return random splits; split s has seed s.

    Without `stratify`, all nodes are distributed and those without a label then left out, so that a label moves no other node.
    With it, each class is cut by the ratios, so that a changed label moves at most the nodes at the cuts of the two classes.

    Raises:
        ValueError: if `stratify` is asked for nodes with several labels.
    """
    if not stratify:
        return random_splits(labelled, count, ratios[0], ratios[1])
    if y.dim() != 1:
        raise ValueError("stratify needs one class a node, and these nodes have several labels or numbers; leave it out.")
    classes = y.numpy()
    splits = []
    for seed in range(count):
        nodes = np.random.default_rng(seed).permutation(len(classes))
        nodes = nodes[labelled[nodes]]
        order = nodes[np.argsort(classes[nodes], kind="stable")]
        sizes = np.bincount(classes[order])
        starts = np.cumsum(sizes) - sizes
        rank, size = np.arange(len(order)) - starts[classes[order]], sizes[classes[order]]
        part = np.full(len(classes), -1)
        part[order] = _part_of_rank(rank, size, ratios)
        splits.append(_split(*(part == number for number in range(3))))
    return tuple(splits)


def _words(*parts: str) -> pa.Array:
    return pa.array([word for part in parts for word in SPLIT_WORDS.get(part, (part,))])


def _part_of_rank(rank: np.ndarray, size: np.ndarray, ratios: tuple[float, float, float]) -> np.ndarray:
    """Return 0, 1 or 2 for each of `size` nodes in their order, by the ratios."""
    middle = (rank + 0.5) / np.maximum(size, 1)
    return (middle >= ratios[0]).astype(int) + (middle >= ratios[0] + ratios[1])


def _split(train: np.ndarray, valid: np.ndarray, test: np.ndarray) -> Split:
    return Split(*(torch.from_numpy(np.flatnonzero(part)) for part in (train, valid, test)))
