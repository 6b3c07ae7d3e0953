"""Every operator as a function of generated leaves, for the laws that hold for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from revgnn import Graph
from revgnn.ops import Max, Mean, Power, Softmax, Sum, aggregate, edge_softmax, norm_relu, perceptron, propagate
from tests.properties.graphs import Noise

Leaves = dict[str, Tensor]

K = 3
"""Edge features. A kernel is compiled for each K and each number of channels, so the laws use few of them."""
POWER_EPS = 0.1
"""Least message of a power mean: of messages near 0 the gradients are large, and all digits of them are noise."""
NARROW, WIDE = 7, 40
"""Numbers of channels: less than a vector, and several vectors with a rest."""


@dataclass(frozen=True)
class Operator:
    """An operator with its settings.

    Attributes:
        call: of a graph, leaves and a backend ("cpu", "reference" or None, which chooses).
        shapes: of each leaf, from the graph's numbers of nodes and edges and the number of channels.
    """

    call: Callable[[Graph, Leaves, str | None], Tensor]
    shapes: Callable[[int, int, int], dict[str, tuple[int, ...]]]

    def leaves(self, graph: Graph, channels: int, noise: Noise, salt: int = 0) -> Leaves:
        """float64, though every number is a float32."""
        shapes = self.shapes(graph.num_nodes, graph.num_edges, channels)
        found = {name: noise.numbers(*shape, salt=16 * salt + k) for k, (name, shape) in enumerate(shapes.items())}
        # A learned exponent or temperature near 1.3.
        return {name: t.clamp(-2, 2) * 0.1 + 1.3 if name == "param" else t for name, t in found.items()}

    def on(self, graph: Graph) -> Callable[[Leaves, str | None], Tensor]:
        return lambda leaves, backend: self.call(graph, leaves, backend)


def _aggregation(how: Callable[[Any], Any], *, learned: bool = False, residual: bool = False, eps: float = 1e-7) -> Operator:
    def call(graph: Graph, leaves: Leaves, backend: str | None) -> Tensor:
        tensors = {name: t for name, t in leaves.items() if name != "param"}
        return aggregate(graph=graph, how=how(leaves.get("param")), residual=residual, eps=eps, backend=backend, **tensors)

    return Operator(call, lambda n, e, c: {"x": (n, c), **({"param": ()} if learned else {})})


def _with_edges(plain: Operator) -> Operator:
    extra = lambda e, c: {"edge_attr": (e, K), "weight": (K, c), "bias": (c,)}  # noqa: E731
    return Operator(plain.call, lambda n, e, c: plain.shapes(n, e, c) | extra(e, c))


def _propagation(how: Sum | Mean, heads: int = 0) -> Operator:
    def shapes(n: int, e: int, c: int) -> dict[str, tuple[int, ...]]:
        return {"x": (n, heads, c), "weight": (e, heads)} if heads else {"x": (n, c), "weight": (e,)}

    return Operator(lambda graph, leaves, backend: propagate(graph=graph, how=how, backend=backend, **leaves), shapes)


AGGREGATIONS: dict[str, Operator] = {
    "sum": _aggregation(lambda _: Sum()),
    "mean": _aggregation(lambda _: Mean()),
    "max": _aggregation(lambda _: Max()),
    "max residual": _aggregation(lambda _: Max(), residual=True),
    "softmax": _aggregation(lambda _: Softmax(0.7)),
    "softmax learned": _aggregation(lambda p: Softmax(p), learned=True),
    "softmax semi-gradient": _aggregation(lambda _: Softmax(0.7, semi_gradient=True)),
    "power": _aggregation(lambda _: Power(2.0), eps=POWER_EPS),
    "power learned": _aggregation(lambda p: Power(p), learned=True, eps=POWER_EPS),
    "power clamped": _aggregation(lambda p: Power(p, clamp=(1e-7, 1.0)), learned=True, eps=POWER_EPS),
}
OPERATORS: dict[str, Operator] = {
    **AGGREGATIONS,
    **{f"{name}, edges": _with_edges(operator) for name, operator in AGGREGATIONS.items()},
    "propagate": Operator(
        lambda graph, leaves, backend: propagate(graph=graph, backend=backend, **leaves), lambda n, e, c: {"x": (n, c)}
    ),
    "propagate weighted": _propagation(Sum()),
    "propagate mean": _propagation(Mean()),
    "propagate heads": _propagation(Sum(), heads=2),
    "edge_softmax": Operator(
        lambda graph, leaves, backend: edge_softmax(leaves["scores"], graph, backend=backend), lambda n, e, c: {"scores": (e, 2)}
    ),
    "norm_relu": Operator(
        lambda _, leaves, backend: norm_relu(**leaves, backend=backend), lambda n, e, c: {"x": (n, c), "weight": (c,), "bias": (c,)}
    ),
    "perceptron": Operator(
        lambda _, leaves, backend: perceptron(**leaves, backend=backend),
        lambda n, e, c: {
            "x": (n, 8), "weight_in": (16, 8), "bias_in": (16,), "gamma": (16,), "beta": (16,),
            "weight_out": (4, 16), "bias_out": (4,),
        },
    ),
}  # fmt: skip
"""By name. Those of a graph take their graph from the case."""


def run(
    call: Callable[[Leaves, str | None], Tensor], leaves: Leaves, backend: str | None = None, upstream: Tensor | None = None
) -> Leaves:
    """Return the value and the gradient of each leaf, under a fixed projection or `upstream`."""
    given = {name: t.detach().requires_grad_() for name, t in leaves.items()}
    out = call(given, backend)
    if upstream is None:
        upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(out)
    grads = torch.autograd.grad(out, list(given.values()), upstream, allow_unused=True)
    return {"value": out.detach(), **{f"gradient of {n}": g for n, g in zip(given, grads, strict=True) if g is not None}}


def differing(ours: Leaves, theirs: Leaves) -> str | None:
    """Return what has other bits, or None. NaN equals NaN, and 0 does not equal -0."""
    if ours.keys() != theirs.keys():
        return f"{sorted(ours.keys() ^ theirs.keys())} on one side only"
    for name, one in ours.items():
        other = theirs[name]
        if one.dtype != other.dtype or one.shape != other.shape:
            return f"{name}: {one.dtype} {tuple(one.shape)} and {other.dtype} {tuple(other.shape)}"
        kind = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[one.element_size()]
        same = (one.contiguous().view(kind) == other.contiguous().view(kind)) | (one.isnan() & other.isnan())
        if not same.all():
            where = tuple((~same).nonzero()[0].tolist())
            count = f"{int((~same).sum())} of {same.numel()} differ"
            return f"{name} at {where}: {float(one[where])!r} and {float(other[where])!r}; {count}"
    return None
