"""Make splits: at random, or from boolean masks."""

from __future__ import annotations

import numpy as np
import torch

from revgnn.data.dataset import Split


def random_splits(labelled: np.ndarray, count: int = 10, train: float = 0.6, valid: float = 0.2) -> tuple[Split, ...]:
    """Return random splits: split `s` is `numpy.random.default_rng(s).permutation(N)`, cut in three, without unlabelled nodes.

    Split `s` does not depend on `count`. All N nodes are distributed, so that a label that is added or removed changes the part of
    no other node.

    Args:
        labelled: bool, (N,), whether a node has a label.
        count: number of splits.
        train: share of training nodes.
        valid: share of validation nodes; the rest is for testing.
    """
    # Shares such as 0.7 + 0.1 are a rounding below the share that is meant.
    train_end, valid_end = (int(share * len(labelled) + 1e-9) for share in (train, train + valid))
    splits = []
    for seed in range(count):
        nodes = np.random.default_rng(seed).permutation(len(labelled))
        parts = (nodes[:train_end], nodes[train_end:valid_end], nodes[valid_end:])
        splits.append(Split(*(torch.from_numpy(part[labelled[part]].astype(np.int64, copy=False)) for part in parts)))
    return tuple(splits)


def splits_from_masks(train: np.ndarray, valid: np.ndarray, test: np.ndarray) -> tuple[Split, ...]:
    """Return one split for each row of the boolean masks, (S, N) each; nodes ascend."""
    rows = zip(train, valid, test, strict=True)
    return tuple(Split(*(torch.from_numpy(np.flatnonzero(mask)) for mask in row)) for row in rows)
