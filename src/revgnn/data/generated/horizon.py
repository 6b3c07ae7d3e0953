"""What a generated task with a known horizon asks of a network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from revgnn.data.build_graph import build_graph
from revgnn.data.dataset import NodeDataset, Split

PARTS = (0.5, 0.2, 0.3)
"""Shares of rings, trees or beacons for training, validation and test."""


@dataclass(frozen=True)
class Horizon:
    """What can be known of the labels of validation and test nodes within some hops.

    Attributes:
        hops: with fewer layers of messages than this, chance is the best possible: the label does not depend on anything nearer.
        reach: with this many layers, everything that the label depends on has arrived.
        chance: expected score of any function of the nodes nearer than `hops`.
        ceiling: score of the function that the labels are made by.
    """

    hops: int
    reach: int
    chance: float
    ceiling: float = 1.0


def cut_in_parts(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return the part (0 training, 1 validation, 2 test) of each of `count` things, in random order."""
    part = np.full(count, 2)
    train, valid = round(PARTS[0] * count), round(PARTS[1] * count)
    part[:train], part[train : train + valid] = 0, 1
    return rng.permutation(part)


def split_of(part: np.ndarray) -> Split:
    """Return the split that an array with the part of each node describes; -1 is in none."""
    return Split(*(torch.from_numpy(np.flatnonzero(part == number)) for number in range(3)))


def classes_of_nodes(name: str, edges: np.ndarray, x: np.ndarray, y: np.ndarray, part: np.ndarray, classes: int) -> NodeDataset:
    """Return a data set whose nodes have one of some classes.

    Args:
        edges: (2, E), each pair of neighbours once.
        x, y: features (N, F) and classes (N,), -1 where there is none.
        part: (N,), see `split_of`.
    """
    return NodeDataset(
        name=name,
        graph=build_graph(edges, len(x), undirected=True),
        x=torch.from_numpy(x),
        y=torch.from_numpy(y),
        task="multiclass",
        num_outputs=classes,
        metric="accuracy",
        splits=(split_of(part),),
        source="generated",
        licence="none needed",
    )
