"""Generated graphs and arrays: plain values that can be printed, and what they stand for."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from revgnn import Graph

Numbers = tuple[int, ...]


@dataclass(frozen=True)
class Edges:
    """A list of edges, written out."""

    num_nodes: int
    src: Numbers
    dst: Numbers

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Sources and destinations, int64."""
        return np.array(self.src, np.int64), np.array(self.dst, np.int64)

    def order(self) -> list[int]:
        """The edges in destination order, by definition: those into a node keep their order."""
        return sorted(range(len(self.dst)), key=self.dst.__getitem__)

    def compressed(self) -> tuple[list[int], list[int]]:
        """`indptr` and `src`, by definition."""
        counts = [sum(d < i for d in self.dst) for i in range(self.num_nodes + 1)]
        return counts, [self.src[e] for e in self.order()]

    def index(self) -> Tensor:
        return torch.from_numpy(np.stack(self.arrays()))

    def graph(self, edge_attr: Tensor | None = None) -> Graph:
        return Graph.from_edge_index(self.index(), self.num_nodes, edge_attr)


@dataclass(frozen=True)
class DrawnEdges:
    """Many edges, by the way in which they are drawn."""

    kind: str
    num_nodes: int
    num_edges: int
    seed: int

    def graph(self) -> Graph:
        rng = np.random.default_rng(self.seed)
        n, e = self.num_nodes, self.num_edges
        even = rng.integers(0, n, e)
        match self.kind:
            case "even":
                src, dst = even, rng.integers(0, n, e)
            case "into one":
                src, dst = even, np.full(e, self.seed % n)
            case "out of one":
                src, dst = np.full(e, self.seed % n), even
            case "power law":
                weight = 1 / np.arange(1, n + 1)
                src, dst = rng.choice(n, (2, e), p=weight / weight.sum())
            case "last nodes":
                src, dst = rng.integers(0, max(1, n // 8), (2, e)) + (n - max(1, n // 8))
            case kind:
                raise ValueError(kind)
        return Graph.from_edge_index(torch.from_numpy(np.stack([src, dst])), n)


@st.composite
def edge_lists(draw: Callable[..., Any], max_nodes: int = 9, max_edges: int = 24, min_nodes: int = 0) -> Edges:
    """Few nodes and edges of any kind: none at all, isolated nodes, doubled edges, loops, one node with all edges."""
    num_nodes = draw(st.integers(min_nodes, max_nodes))
    if num_nodes == 0:
        return Edges(0, (), ())
    node = st.integers(0, num_nodes - 1)
    pair = st.tuples(node, node)
    kind = draw(st.sampled_from(["any", "any", "into one", "out of one", "doubled", "loops"]))
    if kind == "into one":
        pair = st.tuples(node, st.just(draw(node)))
    elif kind == "out of one":
        pair = st.tuples(st.just(draw(node)), node)
    elif kind == "loops":
        pair = node.map(lambda i: (i, i))
    pairs = draw(st.lists(pair, max_size=max_edges))
    if kind == "doubled":
        pairs = pairs[: max_edges // 3] * 3
    return Edges(num_nodes, tuple(s for s, _ in pairs), tuple(d for _, d in pairs))


def drawn_edges(min_edges: int, max_edges: int, min_nodes: int = 1, max_nodes: int = 2000) -> st.SearchStrategy[DrawnEdges]:
    kinds = st.sampled_from(["even", "into one", "out of one", "power law", "last nodes"])
    return st.builds(DrawnEdges, kinds, st.integers(min_nodes, max_nodes), st.integers(min_edges, max_edges), seeds)


seeds = st.integers(0, 2**32 - 1)

# --- layouts --------------------------------------------------------------------------------------------------------------------

VECTOR_LAYOUTS = ["contiguous", "offset", "step", "column", "unaligned", "read-only", "mapped"]
MATRIX_LAYOUTS = [*VECTOR_LAYOUTS, "transposed", "wide rows"]


def laid_out(values: np.ndarray, layout: str) -> Tensor:
    """The same numbers in another layout. Memory between and around them holds what shows: NaN, or the largest integer."""
    poison = np.nan if values.dtype.kind == "f" else np.iinfo(values.dtype).max if values.dtype.kind in "iu" else True

    def within(shape: tuple[int, ...], place: Any) -> np.ndarray:
        room = np.full(shape, poison, values.dtype)
        room[place] = values
        return room[place]

    rows, rest = values.shape[0], values.shape[1:]
    match layout:
        case "contiguous":
            found = values.copy()
        case "offset":
            found = within((rows + 4, *rest), slice(1, rows + 1))
        case "step":
            found = within((2 * rows + 1, *rest), slice(1, 2 * rows + 1, 2))
        case "column":
            found = within((rows, 3, *rest), (slice(None), 1))
        case "unaligned":
            found = np.frombuffer(bytearray(1 + values.nbytes), values.dtype, values.size, offset=1).reshape(values.shape)
            found[...] = values
        case "read-only":
            found = values.copy()
            found.flags.writeable = False
        case "mapped":
            room = mmap.mmap(-1, max(values.nbytes, 1))  # ends with a page: one element too far may be no memory
            found = np.frombuffer(room, values.dtype, values.size).reshape(values.shape)
            found[...] = values
        case "transposed":
            found = values.T.copy().T
        case "wide rows":
            found = within((rows, rest[0] + 3), (slice(None), slice(1, rest[0] + 1)))
        case _:
            raise ValueError(layout)
    return torch.from_numpy(found)


# --- numbers --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Noise:
    """Floating-point numbers by the way in which they are drawn."""

    kind: str
    seed: int
    scale: float = 1.0

    def numbers(self, *shape: int, salt: int = 0) -> Tensor:
        """float64 of this shape, each of them a float32 too; `salt` tells several tensors of one case apart."""
        rng = np.random.default_rng([self.seed, salt])
        values = rng.normal(size=shape)
        match self.kind:
            case "normal":
                pass
            case "ties":
                values = values.round()
            case "sparse":
                values *= rng.random(shape) < 0.3
            case "one sign":
                values = np.abs(values)
            case "offset":
                values += 30.0
            case "wide":
                values *= 10.0 ** rng.uniform(-4, 4, shape)
            case kind:
                raise ValueError(kind)
        return torch.from_numpy(np.asarray(values * self.scale).astype(np.float32).astype(np.float64))


def noises(*kinds: str, scales: st.SearchStrategy[float] | None = None) -> st.SearchStrategy[Noise]:
    scales = st.just(1.0) if scales is None else scales
    return st.builds(Noise, st.sampled_from(kinds or ("normal", "ties", "sparse", "one sign", "offset")), seeds, scales)
