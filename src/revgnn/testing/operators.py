"""Every operator in all its variants, on inputs that kernels often get wrong: what `revgnn verify` and the tests walk.

A new operator adds its cases to `CASES`. Tests of one operator's own properties are in a file of their own, in `tests/ops`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from revgnn.graph import Graph
from revgnn.ops import Max, Mean, Power, Softmax, Sum, aggregate, edge_softmax, norm_relu, perceptron, propagate
from revgnn.testing.comparison import Leaves, Op
from revgnn.testing.graphs import NamedGraph, awkward_graphs

K = 3
"""Edge features."""
GRAPHS = awkward_graphs()
GRAPHS_WITH_FEATURES = awkward_graphs(K, dtype=torch.float64)
FEW = ("no edges", "single node, self-loop", "tangle")
"""Graphs that are small enough for Triton's interpreter."""


class Problem(NamedTuple):
    """One input of an operator.

    Attributes:
        name: what is special about it.
        call: the operator, from its leaves and a backend.
        draw: from a seed to leaves in float64.
        small: whether Triton's interpreter gets through it in about a second.
    """

    name: str
    call: Op
    draw: Callable[[int], Leaves]
    small: bool


class Case(NamedTuple):
    """One variant of an operator, and a function from a device to the inputs that it is tested on there."""

    operator: str
    variant: str
    problems: Callable[[torch.device], list[Problem]]

    def __str__(self) -> str:
        return f"{self.operator}: {self.variant}"


def tangle() -> Graph:
    """Return a graph of 10 nodes and 60 edges: a hub with 40 incoming edges, one with 30 outgoing ones, doubled edges, self-loops.

    The last node has no incoming edge.
    """
    ends = torch.randint(0, 9, (2, 60), generator=torch.Generator().manual_seed(0))
    ends[1, :40] = 2
    ends[0, 30:] = 5
    return Graph.from_edge_index(ends, 10)


def on_graphs(
    graphs: list[NamedGraph], call: Callable[[Graph], Op], draw: Callable[[Graph, int], Leaves]
) -> Callable[[torch.device], list[Problem]]:
    """Return a function from a device to a problem for each of these graphs, and one for `tangle()`."""
    named = [*graphs, NamedGraph("tangle", tangle())]
    return lambda device: [Problem(n, call(graph.to(device)), functools.partial(draw, graph), n in FEW) for n, graph in named]


def normal(seed: int, **shapes: tuple[int, ...]) -> Leaves:
    """Draw normal tensors of these shapes, in float64."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}


def with_exact_messages(leaves: Leaves) -> Leaves:
    """Round leaves of `aggregate` to multiples of 1/8: then  x_j + A W + b  has no rounding error in float32.

    The gradients of a power mean depend on m_j / out. If all messages of a node are near 0, the rounding of a message is a large
    part of it, so the error of a result is that of its worst message: chance, which no number of draws makes a steady figure.
    """
    return {name: leaf if name == "param" else (8 * leaf).round() / 8 for name, leaf in leaves.items()}


# --- aggregate -------------------------------------------------------------------------------------------------------------------

REDUCERS: dict[str, Callable[[Any], Any]] = {
    "sum": lambda _: Sum(),
    "mean": lambda _: Mean(),
    "max": lambda _: Max(),
    "softmax": lambda _: Softmax(0.7),
    "softmax, learned": lambda p: Softmax(p),
    "softmax, learned, negative": lambda p: Softmax(-p),
    "softmax, semi-gradient": lambda _: Softmax(0.7, semi_gradient=True),
    "power": lambda _: Power(2.0),
    "power, learned": lambda p: Power(p),
    "power, learned, negative": lambda p: Power(-p),
    # no message of multiples of 1/64 is a limit: there, releases of torch differ in the gradient
    "power, clamped": lambda p: Power(p, clamp=(1e-7, 1.01)),
    "power, mean clamped": lambda p: Power(p, clamp=(1e-7, 3.01), clamp_mean=(0.3, 2.1)),
}
"""Reducers by name, from one learned number (float64, near 1.3)."""


def aggregate_leaves(graph: Graph, channels: int, *, edges: bool, param: bool, seed: int = 0) -> Leaves:
    """Normal tensors in float64, by the names of `aggregate`'s arguments."""
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    leaves = {"x": normal(graph.num_nodes, channels)}
    if edges:
        leaves |= {"edge_attr": normal(graph.num_edges, K), "weight": normal(K, channels), "bias": normal(channels)}
    return leaves | ({"param": torch.tensor(1.3, dtype=torch.float64)} if param else {})


def learns(reducer: str) -> bool:
    """Whether the reducer takes the learned number."""
    return "learned" in reducer or "clamped" in reducer


def aggregate_on(graph: Graph, reducer: str) -> Op:
    def op(leaves: Leaves, backend: str) -> Tensor:
        tensors: dict[str, Any] = {name: t for name, t in leaves.items() if name != "param"}
        return aggregate(graph=graph, how=REDUCERS[reducer](leaves.get("param")), backend=backend, **tensors)

    return op


NEAR = 1e-5
"""A mean of powers that is as near to a limit may be clamped in float32 and not in float64, and then has another gradient."""


def decides_alike(graph: Graph, reducer: str, leaves: Leaves) -> bool:
    """Return whether float32 and float64 clamp the same means of powers."""
    how = REDUCERS[reducer](leaves.get("param"))
    if not isinstance(how, Power) or how.clamp_mean is None:
        return True
    tensors: dict[str, Any] = {name: t for name, t in leaves.items() if name != "param"}
    unclamped = aggregate(graph=graph, how=Power(how.p, clamp=how.clamp), backend="reference", **tensors)
    means = unclamped.double() ** how.p
    return all(bool(((means - limit).abs() > NEAR).all()) for limit in how.clamp_mean)


def aggregate_case(reducer: str, channels: int, *, edges: bool) -> Case:
    def draw(graph: Graph, seed: int) -> Leaves:
        while True:
            leaves = aggregate_leaves(graph, channels, edges=edges, param=learns(reducer), seed=seed)
            if edges and "power" in reducer:
                leaves = with_exact_messages(leaves)
            if decides_alike(graph, reducer, leaves):
                return leaves
            seed += 1000

    variant = f"{reducer}, {'edge features' if edges else 'nodes alone'}, {channels} channels"
    return Case("aggregate", variant, on_graphs(GRAPHS_WITH_FEATURES, lambda graph: aggregate_on(graph, reducer), draw))


# --- propagate -------------------------------------------------------------------------------------------------------------------


def propagate_leaves(graph: Graph, shape: tuple[int, ...], *, weighted: bool, seed: int = 0) -> Leaves:
    """Leaves for states of this shape a node: (C,), or (H, C)."""
    shapes: dict[str, tuple[int, ...]] = {"x": (graph.num_nodes, *shape)}
    if weighted:
        shapes["weight"] = (graph.num_edges, *shape[:-1])
    return normal(seed, **shapes)


def propagate_on(graph: Graph, how: Sum | Mean) -> Op:
    return lambda leaves, backend: propagate(graph=graph, how=how, backend=backend, **leaves)


def propagate_case(how: Sum | Mean, shape: tuple[int, ...], *, weighted: bool) -> Case:
    def draw(graph: Graph, seed: int) -> Leaves:
        return propagate_leaves(graph, shape, weighted=weighted, seed=seed)

    variant = f"{how}, {'weighted' if weighted else 'plain'}, {' x '.join(map(str, shape))} a node"
    return Case("propagate", variant, on_graphs(GRAPHS, lambda graph: propagate_on(graph, how), draw))


# --- edge_softmax ----------------------------------------------------------------------------------------------------------------


def softmax_scores(graph: Graph, heads: int, seed: int = 0) -> Tensor:
    return 3 * normal(seed, scores=(graph.num_edges, heads))["scores"]


def softmax_on(graph: Graph) -> Op:
    return lambda leaves, backend: edge_softmax(leaves["scores"], graph, backend=backend)


def softmax_case(heads: int) -> Case:
    def draw(graph: Graph, seed: int) -> Leaves:
        return {"scores": softmax_scores(graph, heads, seed)}

    return Case("edge_softmax", f"{heads} heads", on_graphs(GRAPHS, softmax_on, draw))


# --- norm_relu -------------------------------------------------------------------------------------------------------------------


def norm_relu_leaves(rows: int, channels: int, seed: int = 0) -> Leaves:
    leaves = {n: 2 * t + 0.5 for n, t in normal(seed, x=(rows, channels), weight=(channels,), bias=(channels,)).items()}
    if channels == 1:  # such a row is its own mean: only the rounding of a difference would be left, on both sides
        leaves["x"] = torch.full_like(leaves["x"], 0.5)
    return leaves


def norm_relu_with(mask: Tensor | None) -> Op:
    def call(leaves: Leaves, backend: str) -> Tensor:
        x = leaves["x"]
        factors = None if mask is None else mask.to(x)
        return norm_relu(x, leaves["weight"], leaves["bias"], factors, backend=backend)

    return call


def norm_relu_case(channels: int, *, masked: bool) -> Case:
    def problem(rows: int) -> Problem:
        generator = torch.Generator().manual_seed(rows)
        mask = torch.empty(rows, channels, dtype=torch.float64).bernoulli_(0.8, generator=generator) / 0.8 if masked else None
        draw = functools.partial(norm_relu_leaves, rows, channels)
        return Problem(f"{rows} rows", norm_relu_with(mask), draw, rows < 100)

    variant = f"{channels} channels, {'masked' if masked else 'plain'}"
    return Case("norm_relu", variant, lambda device: [problem(rows) for rows in (1, 3, 37, 200)])


# --- perceptron ------------------------------------------------------------------------------------------------------------------


def perceptron_leaves(rows: int, channels: int, hidden: int, width: int, seed: int = 0) -> Leaves:
    """Leaves in the order of the operator's arguments."""
    leaves = normal(
        seed,
        x=(rows, channels),
        weight_in=(hidden, channels),
        bias_in=(hidden,),
        gamma=(hidden,),
        beta=(hidden,),
        weight_out=(width, hidden),
        bias_out=(width,),
    )
    return {name: t / t.shape[-1] ** 0.5 if name.startswith("weight") else t for name, t in leaves.items()}


def call_perceptron(leaves: Leaves, backend: str) -> Tensor:
    return perceptron(*leaves.values(), backend=backend)


def perceptron_case(widths: tuple[int, int, int]) -> Case:
    def problem(rows: int) -> Problem:
        draw = functools.partial(perceptron_leaves, rows, *widths)
        return Problem(f"{rows} rows", call_perceptron, draw, rows < 48 and max(widths) <= 80)

    return Case("perceptron", f"widths {widths}", lambda device: [problem(rows) for rows in (1, 47, 48, 150)])


CASES = [
    *(aggregate_case(reducer, 7, edges=False) for reducer in REDUCERS),
    *(aggregate_case(reducer, 40, edges=True) for reducer in REDUCERS),
    *(propagate_case(how, (2, 7), weighted=weighted) for how in (Sum(), Mean()) for weighted in (False, True)),
    *(propagate_case(how, (7,), weighted=weighted) for how in (Sum(), Mean()) for weighted in (False, True)),
    propagate_case(Mean(), (3, 40), weighted=True),
    *(softmax_case(heads) for heads in (1, 3, 8)),
    *(norm_relu_case(channels, masked=masked) for channels in (1, 7, 16, 40, 112, 131, 600) for masked in (False, True)),
    *(perceptron_case(widths) for widths in ((4, 8, 4), (20, 132, 12), (32, 64, 32), (56, 112, 56), (40, 80, 40))),
]
"""All variants."""

EXAMPLES = [
    *(aggregate_case(reducer, 7, edges=True) for reducer in ("max", "mean", "softmax, learned", "power")),
    propagate_case(Mean(), (2, 7), weighted=False),
    propagate_case(Mean(), (2, 7), weighted=True),
    softmax_case(3),
    norm_relu_case(7, masked=True),
    perceptron_case((4, 8, 4)),
]
"""Variants that differ in what is kept for the backward pass, on which it is tested what torch knows of the operators."""
