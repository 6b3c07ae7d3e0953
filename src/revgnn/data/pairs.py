"""Pairs of nodes with labels: links that are or are not there, or edges with classes or numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from revgnn.data.tasks.base import describe_tensor


@dataclass(frozen=True, eq=False)
class Pairs:
    """The pairs of nodes that the rows of `y` belong to.

    Attributes:
        ends: int64 (2, P), the two nodes of each.
        draws_negatives: `y` says whether pairs are links, and training draws other pairs that are none in each epoch.
        directed: (u, v) and (v, u) are two pairs.
    """

    ends: Tensor
    draws_negatives: bool = False
    directed: bool = True

    def __len__(self) -> int:
        return self.ends.shape[1]

    def check(self, num_nodes: int, name: str) -> None:
        """Raise `ValueError` if these are no pairs of `num_nodes` nodes; `name` is that of the data set."""
        if self.ends.dim() != 2 or self.ends.shape[0] != 2 or self.ends.dtype != torch.int64:
            raise ValueError(f"{name}: pairs must be int64 of shape (2, P), got {describe_tensor(self.ends)}.")
        bad = ((self.ends < 0) | (self.ends >= num_nodes)).any(dim=0).nonzero()
        if len(bad):
            a, b = self.ends[:, int(bad[0])].tolist()
            raise ValueError(f"{name}: pair {int(bad[0])} is ({a}, {b}); with {num_nodes} nodes both lie in [0, {num_nodes}).")


@dataclass(frozen=True, eq=False)
class NonLinks:
    """A source of pairs that are no links, drawn uniformly.

    Attributes:
        num_nodes: N.
        links: int64 (2, L): all links, those of validation and test included.
        directed: (u, v) and (v, u) are two pairs; else only (u, v) with u < v is drawn.
    """

    num_nodes: int
    links: Tensor
    directed: bool

    @cached_property
    def _keys(self) -> np.ndarray:
        return np.unique(self._key(self.links.numpy()))

    @property
    def available(self) -> int:
        """How many pairs of two different nodes are no link."""
        every = self.num_nodes * (self.num_nodes - 1) // (1 if self.directed else 2)
        return every - len(self._keys)

    def draw(self, count: int, rng: np.random.Generator) -> Tensor:
        """Return `count` different pairs, int64 (2, count). They depend only on the state of the generator.

        Raises:
            ValueError: if the graph does not leave that many.
        """
        if count > self.available:
            raise ValueError(
                f"{count:,} pairs without a link are wanted, and the graph has only {self.available:,}; it is too dense to predict "
                "links from as many pairs without one."
            )
        if count > self.available // 2:  # few are left: choose among all
            every = np.arange(self.num_nodes * self.num_nodes)
            u, v = every // self.num_nodes, every % self.num_nodes
            free = every[(u != v) if self.directed else (u < v)]
            chosen = rng.permutation(np.setdiff1d(free, self._keys))[:count]
        else:
            chosen = np.zeros(0, np.int64)
            while len(chosen) < count:
                ends = rng.integers(0, self.num_nodes, (2, 2 * (count - len(chosen)) + 16))
                keys = self._key(ends[:, ends[0] != ends[1]])
                chosen = np.concatenate([chosen, keys[~np.isin(keys, self._keys)]])
                first = np.sort(np.unique(chosen, return_index=True)[1])
                chosen = chosen[first][:count]
        return torch.from_numpy(np.stack([chosen // self.num_nodes, chosen % self.num_nodes]).astype(np.int64))

    def _key(self, ends: np.ndarray) -> np.ndarray:
        u, v = (ends[0], ends[1]) if self.directed else (ends.min(axis=0), ends.max(axis=0))
        return u.astype(np.int64) * self.num_nodes + v
