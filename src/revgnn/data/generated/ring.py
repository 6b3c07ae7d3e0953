"""Ring transfer: a node must say which class the opposite node of its ring has.

Rings of `2 * hops` nodes. The source of a ring has its class as a feature, and the target, opposite of it, has that class as its
label; the features of all other nodes say only that they are neither. The classes of all rings are independent and uniform.
Validation and test nodes are targets. The task is that of Bodnar et al. 2021 (arXiv:2106.12575) and Di Giovanni et al. 2023
(arXiv:2302.02941).
"""

from __future__ import annotations

import numpy as np

from revgnn.data.dataset import NodeDataset
from revgnn.data.generated.horizon import Horizon, classes_of_nodes, cut_in_parts


def ring(rings: int = 100, hops: int = 16, classes: int = 5, near: int = 1, shift: int = 0, seed: int = 0) -> NodeDataset:
    """Return a data set of rings; the module describes the task.

    Args:
        rings: their number, at least 10.
        hops: from the source to the target.
        classes: C, of the source.
        near: 1: all nodes of a training ring have its class as a label to train on, near to the source and far from it; 0: its
            target alone, as in the papers, from which few networks learn to look far.
        shift: added to the classes of validation and test rings, modulo C. Within fewer than `hops` of their targets nothing
            changes, but their labels do: so over all C shifts, a function of these nodes is right once.
        seed: seed of all random numbers.

    Returns:
        2 * hops * rings nodes with C + 3 features (class, is source, is target, 1), and one split of the rings.

    Raises:
        ValueError: if an argument is out of range.
    """
    if rings < 10 or hops < 1 or classes < 2 or near not in (0, 1) or seed < 0:
        raise ValueError(
            f"rings must be 10 or more, hops 1 or more, classes 2 or more, near 0 or 1, seed 0 or more; got rings={rings}, "
            f"hops={hops}, classes={classes}, near={near}, seed={seed}."
        )
    rng = np.random.default_rng(seed)
    length = 2 * hops
    nodes = np.arange(rings * length)
    place, own = nodes % length, nodes // length
    edges = np.stack([nodes, own * length + (place + 1) % length])
    label, part_of = rng.integers(classes, size=rings), cut_in_parts(rings, rng)
    label = (label + shift * (part_of > 0)) % classes
    source, target = place == hops, place == 0
    x = np.zeros((len(nodes), classes + 3), np.float32)
    x[source, label] = 1
    x[:, classes], x[:, classes + 1], x[:, classes + 2] = source, target, 1
    part = part_of[own]
    labelled = target | ((part == 0) & (near == 1))
    part = np.where(labelled, part, -1)
    return classes_of_nodes("ring-transfer", edges, x, np.where(labelled, label[own], -1), part, classes)


def ring_horizon(hops: int = 16, classes: int = 5, **_: int) -> Horizon:
    """Return the horizon of `ring` with these arguments."""
    return Horizon(hops, hops, 1 / classes)
