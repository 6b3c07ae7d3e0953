"""Splits: random ones, and from the forms in which files hold them."""

from __future__ import annotations

import numpy as np
import torch

from revgnn.data.dataset import Split


def random_splits(labelled: np.ndarray, count: int = 10, train: float = 0.6, valid: float = 0.2) -> tuple[Split, ...]:
    """Split `s` is `numpy.random.default_rng(s).permutation(labelled)` cut in three, however many are asked for.

    Args:
        labelled: int64, (M,), the nodes to share out.
        count: number of splits.
        train: share of training nodes.
        valid: share of validation nodes; the rest is for testing.
    """
    first, second = int(train * len(labelled)), int((train + valid) * len(labelled))
    splits = []
    for seed in range(count):
        nodes = torch.from_numpy(np.random.default_rng(seed).permutation(labelled.astype(np.int64)))
        splits.append(Split(nodes[:first], nodes[first:second], nodes[second:]))
    return tuple(splits)


def splits_from_masks(train: np.ndarray, valid: np.ndarray, test: np.ndarray) -> tuple[Split, ...]:
    """From boolean masks, (S, N) each: a split a row, its nodes ascending."""
    rows = zip(train, valid, test, strict=True)
    return tuple(Split(*(torch.from_numpy(np.flatnonzero(mask)) for mask in row)) for row in rows)
