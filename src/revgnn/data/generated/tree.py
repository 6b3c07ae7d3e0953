"""Tree neighbours match: the root of a binary tree must say the value of the leaf whose key it asks for.

Each of the `2 ** hops` leaves has a key of its own and a value; the root has one of the keys. Its label is the value of the leaf
with that key. Everything that the leaves say passes through the two children of the root, so the width of the state limits what
can be known, beside its depth (Alon and Yahav 2021, arXiv:2006.05205). Deviation: values are independent and uniform over
`classes`, not as many as there are leaves.
"""

from __future__ import annotations

import numpy as np

from revgnn.data.dataset import NodeDataset
from revgnn.data.generated.horizon import Horizon, classes_of_nodes, cut_in_parts


def tree(trees: int = 400, hops: int = 3, classes: int = 4, shift: int = 0, seed: int = 0) -> NodeDataset:
    """Return a data set of trees; the module describes the task.

    Args:
        trees: their number, at least 10.
        hops: from the root to the leaves; at most 10.
        classes: C, values of a leaf.
        shift: added to the values of validation and test trees, modulo C; see `ring`.
        seed: seed of all random numbers.

    Returns:
        trees * (2 ** (hops + 1) - 1) nodes with C + K + 2 features (value, key of K = 2 ** hops, is root, 1), of which the roots
        have labels, and one split of the trees.

    Raises:
        ValueError: if an argument is out of range.
    """
    if trees < 10 or not 1 <= hops <= 10 or classes < 2 or seed < 0:
        raise ValueError(
            f"trees must be 10 or more, hops 1 to 10, classes 2 or more, seed 0 or more; got trees={trees}, hops={hops}, "
            f"classes={classes}, seed={seed}."
        )
    rng = np.random.default_rng(seed)
    leaves = 2**hops
    size = 2 * leaves - 1
    child = np.arange(1, size)
    start = np.repeat(np.arange(trees) * size, size - 1)
    edges = np.stack([np.tile(child, trees) + start, np.tile((child - 1) // 2, trees) + start])
    part_of = cut_in_parts(trees, rng)
    key = np.argsort(rng.random((trees, leaves)), axis=1)
    value = (rng.integers(classes, size=(trees, leaves)) + shift * (part_of > 0)[:, None]) % classes
    asked = rng.integers(leaves, size=trees)
    label = value[np.arange(trees), (key == asked[:, None]).argmax(axis=1)]
    root = np.arange(trees) * size
    leaf = root[:, None] + np.arange(size - leaves, size)
    x = np.zeros((trees * size, classes + leaves + 2), np.float32)
    x[leaf, value] = 1
    x[leaf, classes + key] = 1
    x[root, classes + asked] = 1
    x[root, -2], x[:, -1] = 1, 1
    part, y = np.full(len(x), -1), np.full(len(x), -1)
    part[root], y[root] = part_of, label
    return classes_of_nodes("tree-match", edges, x, y, part, classes)


def tree_horizon(hops: int = 3, classes: int = 4, **_: int) -> Horizon:
    """Return the horizon of `tree` with these arguments."""
    return Horizon(hops, hops, 1 / classes)
